import { createLog } from '../../registry/log.ts'
import type { FromEdge, ToEdge } from '../edge-messages.ts'
import { ServingEdge } from './serving-edge.ts'

// One edge process, started by the proxy's main process, and ended by it: a Ctrl-C or a service manager reaches all of them, and the main
// process says then what comes when.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined)
process.once('disconnect', () => process.exit(0))

const log = createLog('proxy')
const send = (message: FromEdge) => process.connected && process.send?.(message)
let edge: ServingEdge | null = null

process.on('message', (message: ToEdge) => {
  if (message.type !== 'begin') {
    edge?.hear(message)
    return
  }
  log.level = message.settings.logLevel
  edge = new ServingEdge(message.settings, { send, log: log.child({ edge: message.settings.number }) })
})
