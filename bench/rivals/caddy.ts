import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../test/support/machine.ts'
import { type Missing, type Rival, rivalProgram, runRival, startRival } from './rival.ts'

/** Caddy with files of a folder, on all cores; it has nothing to tune for this, and logs no requests unless told. */
export function caddyFiles(what: string, directory: string, root: string, path: string): Promise<Rival | Missing> {
  return startRival(what, async () => {
    const caddy = await rivalProgram('caddy')
    const port = await freePort()
    const conf = join(directory, 'Caddyfile')
    await writeFile(
      conf,
      `{
  admin off
  auto_https off
  log {
    level ERROR
  }
}
http://:${port} {
  bind 127.0.0.1
  root * ${root}
  file_server
}
`,
    )
    const env = { HOME: directory, XDG_CONFIG_HOME: directory, XDG_DATA_HOME: directory }
    return runRival(port, { file: caddy, args: ['run', '--adapter', 'caddyfile', '--config', conf], env }, { path })
  })
}
