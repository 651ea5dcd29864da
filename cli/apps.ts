import type { Command } from 'commander'
import { ask } from './ask.ts'
import type { Client } from './client.ts'
import { connect, listsByDefault, withJson } from './context.ts'
import { Failure } from './failure.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'
import { readFields, readList } from './reply.ts'

export function register(program: Command): void {
  const apps = listsByDefault(withJson(program.command('apps')).description('list, create and remove apps'), list)
  withJson(apps.command('list')).description('list the apps you may see').action(list)
  withJson(apps.command('create')).description('create an app').argument('<name>').action(create)
  withJson(apps.command('rm'))
    .description(
      'remove an app with its deployments, variables and logs, its files in /data, and the databases it was given',
    )
    .argument('<name>')
    .option('--yes', 'do not ask')
    .action(remove)
}

type Options = { json?: true }

async function list(_: Options, command: Command): Promise<void> {
  const client = await connect()
  const pages = await everyPage((query) => client.call('GET apps', { query }))
  const reply = { apps: pages.flatMap(({ apps }) => apps) }
  if (command.optsWithGlobals().json) return printJson(reply)
  const apps = readList(reply, 'apps', (app) => readFields(app, { id: 'string', url: 'string', created_at: 'string' }))
  if (apps.length === 0) return print('No apps yet; make one with: atelier link <app>')
  printTable(
    ['APP', 'ADDRESS', 'CREATED'],
    apps.map(({ id, url, created_at }) => [id, url, ago(created_at)]),
  )
}

async function create(name: string, _: Options, command: Command): Promise<void> {
  const reply = await (await connect()).call('POST apps', { json: { name } })
  if (command.optsWithGlobals().json) return printJson(reply)
  const { id, git_url } = readFields(reply, { id: 'string', git_url: 'string' })
  print(`Created ${id}; connect a repository to it with: atelier link ${id}`)
  print(`or: git remote add atelier ${git_url}`)
}

async function remove(name: string, { yes }: { yes?: true }, command: Command): Promise<void> {
  const client = await connect()
  await client.call('GET apps/{app}', { params: { app: name } })
  const given = await databasesOf(client, name)
  if (!yes) {
    const answer = await ask(
      `${name} goes with all its deployments, variables, logs and files in /data${given}. Type its name to remove it: `,
      { instead: '--yes' },
    )
    if (answer.trim() !== name) throw new Failure('nothing was removed: that is not its name')
  }
  await client.call('DELETE apps/{app}', { params: { app: name } })
  if (command.optsWithGlobals().json) return printJson({ removed: name })
  print(`Removed ${name}${given}`)
}

// Asked for at the one moment when it still matters.
async function databasesOf(client: Client, name: string): Promise<string> {
  const pages = await everyPage((page) =>
    client.call('GET apps/{app}/databases', { params: { app: name }, query: { ...page, facts: false } }),
  )
  const names = pages.flatMap(({ databases }) => databases.map((one) => one.name))
  if (names.length === 0) return ''
  return `, and ${names.length === 1 ? 'the database' : `the ${names.length} databases`} it was given (${names.join(', ')})`
}
