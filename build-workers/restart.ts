import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { requeueAbandoned } from '../registry/claims.ts'
import type { Config } from '../registry/config.ts'
import { codeOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { BuildQueue } from '../registry/queue.ts'
import type { Sql } from '../registry/sql.ts'
import type { BuildCaches } from './build-caches.ts'

export type RestartDeps = {
  sql: Sql
  queue: BuildQueue
  config: Config
  caches: BuildCaches
  workerId: string
  log: Log
}

/**
 * At boot: the claims of a former self that was killed go back to the queue at once, and what it left on disk is removed. Its programs are
 * gone: they end with the process that started them.
 */
export async function takeUpAfterFormerSelf({ sql, queue, config, caches, workerId, log }: RestartDeps): Promise<void> {
  const [abandoned] = await Promise.all([
    requeueAbandoned(sql, { workerId }),
    removeLeftovers(config.home),
    caches.sweep(),
  ])
  for (const deployment of abandoned) {
    log.warn({ app: deployment.appId, deployment: deployment.id }, 'build of a former worker queued again')
    await queue.enqueueBuild(deployment)
  }
}

async function removeLeftovers(home: string): Promise<void> {
  const builds = join(home, 'builds')
  for (const name of await namesIn(builds)) await rm(join(builds, name), { recursive: true, force: true })
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return []
    throw thrown
  }
}
