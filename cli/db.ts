import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'
import { readFields, readList } from './reply.ts'

export function register(program: Command): void {
  withApp(program.command('db'))
    .description('show the databases an app was given: name, size, connections')
    .argument('[app]', 'the app; default: the one this git repository is linked to')
    .action(show)
}

async function show(named: string | undefined, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp({ ...options, ...(named && { app: named }) })
  const pages = await everyPage((query) => client.call('GET apps/{app}/databases', { params: { app }, query }))
  const reply = { databases: pages.flatMap(({ databases }) => databases) }
  if (options.json) return printJson(reply)
  const databases = readList(reply, 'databases', (one) =>
    readFields(one, {
      ...{ name: 'string', environment: 'string', branch: 'string', created_at: 'string' },
      ...{ max_connections: 'number', max_bytes: 'number', bytes: 'number?', connections: 'number?' },
    }),
  )
  if (databases.length === 0)
    return print(`${app} was given no database; set database.provision in atelier.config.ts, and push`)
  printTable(
    ['FOR', 'NAME', 'SIZE', 'CONNECTIONS', 'MADE'],
    databases.map(({ name, environment, branch, created_at, max_connections, max_bytes, bytes, connections }) => [
      environment === 'production' ? environment : branch,
      name,
      bytes === null ? 'not made yet' : sizeOf(bytes, max_bytes),
      connections === null ? '' : `${connections} of ${max_connections}`,
      ago(created_at),
    ]),
  )
}

function sizeOf(bytes: number, maxBytes: number): string {
  const size = `${(bytes / 1_048_576).toFixed(1)} MB`
  return bytes > maxBytes ? `${size}, more than ${maxBytes / 1_048_576}` : size
}
