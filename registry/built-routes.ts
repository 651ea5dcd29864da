import { createHash } from 'node:crypto'
import { readWhole } from './bundle-store/bundles.ts'
import type { BundleStore } from './bundle-store/contract.ts'
import { routesKey } from './bundle-store/keys.ts'
import type { Deployment } from './deployments.ts'
import { readManifestOf } from './differences.ts'
import { AppError } from './errors.ts'
import { type RouteList, routeList } from './route-list.ts'
import type { Db } from './sql.ts'
import { shortVersion } from './version.ts'

/** The routes of what a deployment serves. Throws VERSION_PRUNED, VERSION_NOT_FOUND, STORE_UNAVAILABLE and STORE_CORRUPT. */
export async function readBuiltRoutes(sql: Db, store: BundleStore, deployment: Deployment): Promise<RouteList> {
  const { app_id: app, version, build, routes_sha256: sha256 } = await readManifestOf(sql, store, deployment)
  if (sha256 === null)
    throw new AppError(
      'VERSION_NOT_FOUND',
      `${shortVersion(deployment.version)} was built before routes were kept; build it again to see them`,
    )
  const key = routesKey({ app, version, build })
  const bytes = await readWhole(store, key)
  const digest = createHash('sha256').update(bytes).digest('hex')
  if (digest !== sha256) throw new AppError('STORE_CORRUPT', `${key} has the digest ${digest}, not ${sha256}`)
  return routeList.parse(JSON.parse(bytes.toString('utf8')))
}
