import { mkdir } from 'node:fs/promises'
import { openStore } from '../registry/bundle-store/open.ts'
import { readConfig } from '../registry/config.ts'
import { createLog } from '../registry/log.ts'
import { openQueue } from '../registry/queue.ts'
import { onShutdown, tellReady } from '../registry/shutdown.ts'
import { connect } from '../registry/sql.ts'
import { lowerPriority } from '../sandbox/yielding-group.ts'
import { Gateway } from './gateway.ts'

const config = readConfig(process.env)
const log = createLog('gateway')
// What git unpacks and checks is a push's, and live apps go before it.
lowerPriority()
const sql = connect(config.databaseUrl, { max: 10, name: 'atelier-gateway' })
const store = await openStore(config)
const queue = openQueue(config, { log })

await mkdir(config.runDir, { recursive: true })
const gateway = await Gateway.start({ sql, store, queue, config, log })

onShutdown(
  async () => {
    await gateway.close()
    await queue.close()
    await sql.end({ timeout: 2 })
  },
  { log, deadlineMs: 12_000 },
)
tellReady()
