import { openStore } from '../registry/bundle-store/open.ts'
import { readConfig } from '../registry/config.ts'
import { createLog } from '../registry/log.ts'
import { loadKey } from '../registry/secrets.ts'
import { onShutdown, tellReady } from '../registry/shutdown.ts'
import { connect } from '../registry/sql.ts'
import { startProxy } from './proxy.ts'

const config = readConfig(process.env)
const log = createLog('proxy')
const sql = connect(config.databaseUrl, { max: 4, name: 'atelier-proxy' })
const store = await openStore(config)
const key = await loadKey(config)

const proxy = await startProxy(config, { sql, store, key, log })

onShutdown(
  async () => {
    await proxy.close()
    await sql.end({ timeout: 1 })
  },
  { log, deadlineMs: 20_000 },
)
tellReady()
