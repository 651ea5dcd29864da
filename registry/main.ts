import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { createApi } from './api/api.ts'
import { createFront } from './api/front.ts'
import { openStore } from './bundle-store/open.ts'
import { readConfig } from './config.ts'
import { createConsole } from './console/console.ts'
import { boundDatabases } from './database-limits.ts'
import { openOutboundHttp } from './egress/outbound-http.ts'
import { listenOnSocket } from './listen.ts'
import { createLog } from './log.ts'
import { PreviewKeeper } from './previews/keeper.ts'
import { openQueue } from './queue.ts'
import { dropLeftDatabases, reconcile, tidy } from './reconcile.ts'
import { RolloutController } from './rollouts/controller.ts'
import { every } from './schedule.ts'
import { loadKey } from './secrets.ts'
import { onShutdown, tellReady } from './shutdown.ts'
import { connect } from './sql.ts'
import { WebhookDeliverer } from './webhooks/deliverer.ts'

const config = readConfig(process.env)
const log = createLog('registry')
const sql = connect(config.databaseUrl, { max: 10, name: 'atelier-registry' })
const store = await openStore(config)
const queue = openQueue(config, { log })
const key = await loadKey(config)

await mkdir(config.runDir, { recursive: true })
const closing = new AbortController()
const api = createApi({ sql, store, queue, config, key, log, closing: closing.signal })
const console = createConsole({ sql, config, log, api: (request, signedIn) => api.fetch(request, { signedIn }) })
const front = createFront({
  config,
  log,
  api: (request) => api.fetch(request),
  console: (request) => console.fetch(request),
})
const listening = await listenOnSocket(join(config.runDir, 'registry.sock'), getRequestListener(front), {
  alsoOn: config.registryListen,
})

const deps = { sql, queue, store, config, log }
const reconciling = every(config.reconcileMs, () => reconcile(deps), { log, name: 'reconcile' })
queue.onReturn = () => reconciling.soon()
const dropping = every(config.reconcileMs, () => dropLeftDatabases(deps), { log, name: 'databases' })
const bounding = every(config.reconcileMs, () => boundDatabases(deps), { log, name: 'sizes of databases' })
const lockSql = connect(config.databaseUrl, { max: 1, name: 'atelier-rollouts' })
const controller = new RolloutController({ sql, lockSql, config, log })
const webhooks = new WebhookDeliverer({ sql, http: openOutboundHttp(config), key, config, log })
const previews = new PreviewKeeper({ ...deps, key, caller: openOutboundHttp(config) })
const tidying = every(600_000, () => tidy(deps), { log, name: 'tidy' })

onShutdown(
  async () => {
    closing.abort()
    await Promise.all([
      listening.close(),
      reconciling.close(),
      dropping.close(),
      bounding.close(),
      tidying.close(),
      controller.close(),
      webhooks.close(),
      previews.close(),
    ])
    await queue.close()
    await sql.end({ timeout: 5 })
  },
  { log, deadlineMs: 10_000 },
)
tellReady()
