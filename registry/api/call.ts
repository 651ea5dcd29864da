import type { App } from '../apps.ts'
import type { BundleStore } from '../bundle-store/contract.ts'
import type { Config } from '../config.ts'
import type { Deployment } from '../deployments.ts'
import type { Log } from '../log.ts'
import type { BuildQueue } from '../queue.ts'
import type { Caller } from '../rights.ts'
import type { Key } from '../secrets.ts'
import type { Sql } from '../sql.ts'

/** What the API is built on. `closing` ends the streams that would otherwise keep the role from stopping. */
export type ApiDeps = {
  sql: Sql
  store: BundleStore
  queue: BuildQueue
  config: Config
  key: Key
  log: Log
  closing?: AbortSignal
}

/** One authorised request: who asks, and the raw request for those who stream. */
export type Call = ApiDeps & {
  caller: Caller
  request: Request
  /** Asks again whether the caller's token or session is still good. */
  stillGood: () => Promise<boolean>
}

/** What the policy found the request to be about; handlers get it ready and checked. */
export type Subject = { app: App | null; deployment: Deployment | null }

/** Who did it, as kept in deployments and events. */
export function nameOf(caller: Caller): string {
  return caller.name
}
