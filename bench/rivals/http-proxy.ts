import { join } from 'node:path'
import { freePort } from '../../test/support/machine.ts'
import type { Backend } from './node.ts'
import { type Missing, type Rival, runRival, startRival } from './rival.ts'

/** http-proxy before a Node server, in one process and with an agent that keeps connections alive: its default agent is four times slower. */
export function httpProxyBefore(what: string, backend: Backend): Promise<Rival | Missing> {
  return startRival(what, async () => {
    const port = await freePort()
    const args = [join(import.meta.dirname, 'http-proxy-server.ts'), String(port), backend.socket]
    return runRival(port, { file: process.execPath, args }, { backend })
  })
}
