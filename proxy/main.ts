import { openStore } from '../registry/bundle-store/open.ts'
import { readConfig } from '../registry/config.ts'
import { createLog } from '../registry/log.ts'
import { loadKey } from '../registry/secrets.ts'
import { onShutdown, refuseToStart, tellReady } from '../registry/shutdown.ts'
import { connect } from '../registry/sql.ts'
import { watchAppIsolation } from './hosts/isolation.ts'
import { openNetworks, startProxy } from './proxy.ts'

const config = readConfig(process.env)
const log = createLog('proxy')
const sql = connect(config.databaseUrl, { max: 4, name: 'atelier-proxy' })
const store = await openStore(config)
const key = await loadKey(config)

const networks = openNetworks(config, log)
const isolation = watchAppIsolation(config, { sql, networks, log })
await isolation.demand().catch((weak: unknown) => refuseToStart(weak, { log }))
const proxy = await startProxy(config, { sql, store, key, networks, log, admit: () => isolation.demand() })
isolation.isOf(proxy.edgeId)

onShutdown(
  async () => {
    await isolation.close()
    await proxy.close()
    await sql.end({ timeout: 1 })
  },
  { log, deadlineMs: 20_000 },
)
tellReady()
