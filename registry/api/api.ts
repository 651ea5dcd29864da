import { Hono } from 'hono'
import type { BundleStore } from '../bundle-store/contract.ts'
import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import type { BuildQueue } from '../queue.ts'
import type { Key } from '../secrets.ts'
import type { Sql } from '../sql.ts'

export type ApiDeps = { sql: Sql; store: BundleStore; queue: BuildQueue; config: Config; key: Key; log: Log }

/** The HTTP API and the console, as one fetch handler. */
export function createApi({ sql }: ApiDeps): Hono {
  const api = new Hono()
  api.get('/health', async (context) => {
    await sql`select 1`
    return context.json({ ok: true })
  })
  return api
}
