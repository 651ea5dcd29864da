import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { requeueAbandoned } from '../registry/claims.ts'
import type { Config } from '../registry/config.ts'
import { codeOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { BuildQueue } from '../registry/queue.ts'
import type { Sql } from '../registry/sql.ts'
import { DependencyCache } from './dependency-cache.ts'

export type RestartDeps = { sql: Sql; queue: BuildQueue; config: Config; workerId: string; log: Log }

/**
 * At boot: the claims of a former self that was killed go back to the queue at once, and what it left on disk is removed. Its programs are
 * gone: they end with the process that started them.
 */
export async function takeUpAfterFormerSelf({ sql, queue, config, workerId, log }: RestartDeps): Promise<void> {
  const [abandoned] = await Promise.all([requeueAbandoned(sql, { workerId }), removeLeftovers(config.home)])
  for (const deployment of abandoned) {
    log.warn({ app: deployment.appId, deployment: deployment.id }, 'build of a former worker queued again')
    await queue.enqueueBuild(deployment)
  }
}

async function removeLeftovers(home: string): Promise<void> {
  const builds = join(home, 'builds')
  for (const name of await namesIn(builds)) await rm(join(builds, name), { recursive: true, force: true })

  const caches = join(home, 'cache')
  for (const name of await namesIn(caches)) await new DependencyCache(join(caches, name, 'modules')).sweep()
  const tools = join(caches, 'tools')
  for (const name of await namesIn(tools))
    if (name.startsWith('.making-')) await rm(join(tools, name), { recursive: true, force: true })
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return []
    throw thrown
  }
}
