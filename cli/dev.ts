import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { usage } from './failure.ts'

export type DevOptions = { port?: string; build?: true; app?: string; fresh?: true }

export function register(program: Command): void {
  program
    .command('dev')
    .description(
      'serve a folder as Atelier would, and build it again on every save; frameworks run their own dev server',
    )
    .argument('[folder]', 'the app', '.')
    .option('-p, --port <port>', 'where to serve it; default: 3000, or the next one that is free')
    .option('--build', 'build it as Atelier does, also when its framework has a dev server of its own')
    .option('-a, --app <name>', 'what it is called; default: as package.json or the folder is')
    .option('--fresh', 'begin anew: without the database, data and caches that earlier runs have left')
    .action(dev)
}

async function dev(folder: string, options: DevOptions): Promise<void> {
  const found = await stat(folder).catch(() => null)
  if (!found?.isDirectory()) throw usage(`${folder} is not a folder; name one, as in: atelier dev site`)
  const port = options.port === undefined ? null : Number(options.port)
  if (port !== null && !(Number.isInteger(port) && port >= 1 && port <= 65_535))
    throw usage('--port takes a port from 1 to 65535')
  const { develop } = await import('./dev/develop.ts')
  await develop(folder, { ...options, port })
}
