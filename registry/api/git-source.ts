import { z } from '@hono/zod-openapi'
import type { NewDeployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import { keepOrigin, parseGitOrigin } from '../git-origins.ts'
import { isVersionTaken } from '../sources.ts'
import { parseVersion, timestampVersion } from '../version.ts'
import type { Call } from './call.ts'
import { line } from './fields.ts'
import { refuseUnlessWhole } from './upload.ts'

/** A commit of a git host. */
export const gitSource = z
  .strictObject({
    git: line(2000).openapi({
      description: 'http:// or https://, without a user name',
      example: 'https://git.example/marketing.git',
    }),
    ref: line(250).optional().openapi({
      description: 'a branch, a tag, a whole ref or a commit; default: what the host has as HEAD',
      example: 'main',
    }),
    token: line(1000)
      .optional()
      .openapi({ description: 'of a private repository; kept sealed, and only until the source has come' }),
  })
  .openapi('GitSource')

/**
 * What a deployment of it is made with; a worker fetches it. A `version` that is a SHA is the commit that is meant. Throws REQUEST_INVALID, BRANCH_ILLEGAL,
 * VERSION_ILLEGAL, NAME_TAKEN.
 */
export async function prepareGitSource(
  { git, ref, token }: z.infer<typeof gitSource>,
  { app, version }: { app: string; version: string | null },
  { sql, key }: Pick<Call, 'sql' | 'key'>,
): Promise<Pick<NewDeployment, 'version' | 'source' | 'gitOrigin'>> {
  if (version !== null) refuseUnlessWhole(version)
  const sha = version !== null && parseVersion(version).kind === 'sha' ? version : null
  const origin = parseGitOrigin({ url: git, ref: ref ?? null, sha })
  if (version !== null && sha === null && (await isVersionTaken(sql, { app, version })))
    throw new AppError('NAME_TAKEN', `${app} has a version ${version} already; choose another name, or leave it out`)
  return {
    version: version ?? origin.sha ?? timestampVersion(),
    source: 'git',
    gitOrigin: keepOrigin(origin, { app, token: token ?? null, key, isNamed: version !== null }),
  }
}
