import type { BundleStore } from '../registry/bundle-store/contract.ts'
import type { Config } from '../registry/config.ts'
import type { Log } from '../registry/log.ts'
import type { BuildQueue } from '../registry/queue.ts'
import type { Sql } from '../registry/sql.ts'
import type { authenticate } from '../registry/tokens.ts'
import type { Git } from './git.ts'
import type { RefLocks } from './ref-lock.ts'
import type { Repositories } from './repositories.ts'

/** What every part of the gateway has at hand. */
export type GatewayDeps = {
  sql: Sql
  store: BundleStore
  queue: BuildQueue
  config: Config
  log: Log
  git: Git
  repositories: Repositories
  locks: RefLocks
  /** Who holds a token; `authenticate` of the registry when left out. */
  identify?: typeof authenticate
  /** Aborted when the gateway stops: pushes that only follow a build are let go. */
  stopping: AbortSignal
}
