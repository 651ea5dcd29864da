import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../test/support/machine.ts'
import type { Backend } from './node.ts'
import { type Missing, type Rival, rivalProgram, runRival, startRival } from './rival.ts'

/** HAProxy before a Node server; as its handbook tunes it for this: a thread a core (its default), connections to the server shared by all. */
export function haproxyBefore(what: string, directory: string, backend: Backend): Promise<Rival | Missing> {
  return startRival(what, async () => {
    const haproxy = await rivalProgram('haproxy')
    const port = await freePort()
    const conf = join(directory, 'haproxy.cfg')
    await writeFile(
      conf,
      `global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option http-keep-alive
  option forwardfor
  http-reuse always
listen front
  bind 127.0.0.1:${port}
  server node unix@${backend.socket} maxconn 512
`,
    )
    return runRival(port, { file: haproxy, args: ['-db', '-f', conf] }, { backend })
  })
}
