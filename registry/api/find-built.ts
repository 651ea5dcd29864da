import type { App } from '../apps.ts'
import { type Deployment, findByVersion } from '../deployments.ts'
import { AppError } from '../errors.ts'
import type { Sql } from '../sql.ts'

/** The newest deployment of that version that was built, in production if there is one. Throws VERSION_NOT_FOUND. */
export async function findBuilt(sql: Sql, app: App, version: string): Promise<Deployment> {
  const found = [
    ...(await findByVersion(sql, app.id, version)),
    ...(await findByVersion(sql, app.id, version, 'preview')),
  ].find(({ buildId }) => buildId !== null)
  if (found) return found
  throw new AppError(
    'VERSION_NOT_FOUND',
    `${app.id} has no built version ${version}; see: atelier deploys --app ${app.id}`,
  )
}
