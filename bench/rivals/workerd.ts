import { access, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../test/support/machine.ts'
import { npm } from './npm.ts'
import { type Missing, orNotHere, type Rival, runRival, startRival } from './rival.ts'

const version = '1.20261117.1'

/**
 * workerd with the handler itself, in one process: it has no more. Its 160 MB are installed when it is first measured and kept in the cache
 * of the checkout: nobody who only works on the platform is to download them.
 */
export function workerdWith(what: string, directory: string, handler: string): Promise<Rival | Missing> {
  return startRival(what, async () => {
    const workerd = await orNotHere(findWorkerd)
    const port = await freePort()
    await writeFile(join(directory, 'handler.js'), handler)
    await writeFile(
      join(directory, 'workerd.capnp'),
      `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (
    modules = [(name = "handler", esModule = embed "handler.js")], compatibilityDate = "2026-11-01"
  ))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
`,
    )
    return runRival(port, { file: workerd, args: ['serve', join(directory, 'workerd.capnp')] })
  })
}

async function findWorkerd(): Promise<string> {
  const folder = join(import.meta.dirname, '../../node_modules/.cache/atelier-bench', `workerd-${version}`)
  const architecture = process.arch === 'x64' ? '64' : process.arch
  const program = join(folder, `node_modules/@cloudflare/workerd-${process.platform}-${architecture}/bin/workerd`)
  const isThere = await access(program).then(
    () => true,
    () => false,
  )
  if (isThere) return program
  await mkdir(folder, { recursive: true })
  await npm(folder, ['install', '--no-save', '--ignore-scripts', `workerd@${version}`])
  return program
}
