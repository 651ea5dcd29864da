import { type Command, InvalidArgumentError, Option } from 'commander'
import { connect, listsByDefault, withJson } from './context.ts'
import { usage } from './failure.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'
import { readFields, readList } from './reply.ts'

type CreateOptions = { scope: 'read' | 'deploy' | 'admin'; app?: string; expires?: number; alone?: true; json?: true }

export function register(program: Command): void {
  const tokens = listsByDefault(
    withJson(program.command('tokens')).description('list, create and remove API tokens'),
    list,
  )
  withJson(tokens.command('list')).description('list tokens; their secrets are not kept').action(list)
  withJson(tokens.command('create'))
    .description('create a token; its secret is printed this once')
    .argument('<name>', 'what it is for')
    .addOption(new Option('--scope <scope>', 'what it may do').choices(['read', 'deploy', 'admin']).default('deploy'))
    .option('-a, --app <app>', 'good for this app only')
    .option('--expires <days>', 'after so many days', parseDays)
    .option('--alone', 'not yours but nobody’s, with rights of its own; for admins')
    .action(create)
  tokens
    .command('renew-admin')
    .description('make a new admin token; on a server of a platform whose parts run apart, when the old one is lost')
    .action(async () => {
      const { renewAdmin } = await import('./up/renew-admin.ts')
      print(`The new admin token is in ${await renewAdmin(process.env)}; the one before has stopped working`)
    })
  withJson(tokens.command('rm'))
    .description('remove a token, or all of yours at once')
    .argument('[id]')
    .option('--all', 'all of yours, but the one this command uses')
    .action(remove)
}

async function list(_: unknown, command: Command): Promise<void> {
  const client = await connect()
  const pages = await everyPage((query) => client.call('GET tokens', { query }))
  const reply = { tokens: pages.flatMap(({ tokens }) => tokens) }
  if (command.optsWithGlobals().json) return printJson(reply)
  const tokens = readList(reply, 'tokens', (token) =>
    readFields(token, {
      id: 'string',
      name: 'string',
      scope: 'string',
      app_id: 'string?',
      person: 'string?',
      expires_at: 'string?',
      last_used_at: 'string?',
    }),
  )
  printTable(
    ['ID', 'NAME', 'SCOPE', 'APP', 'WHOSE', 'EXPIRES', 'LAST USED'],
    tokens.map((one) => [
      one.id,
      one.name,
      one.scope,
      one.app_id ?? 'all',
      one.person ?? '-',
      one.expires_at?.slice(0, 10) ?? 'never',
      one.last_used_at ? ago(one.last_used_at) : 'never',
    ]),
  )
}

async function create(name: string, { scope, app, expires, alone }: CreateOptions, command: Command): Promise<void> {
  const json = { name, scope, app_id: app, expires_in_days: expires, alone }
  const reply = await (await connect()).call('POST tokens', { json })
  if (command.optsWithGlobals().json) return printJson(reply)
  // Alone on its line, and alone on stdout: it can be piped to where it is needed.
  print(readFields(reply, { secret: 'string' }).secret)
}

async function remove(id: string | undefined, { all }: { all?: true }, command: Command): Promise<void> {
  if ((id === undefined) === (all === undefined)) throw usage('say which token: its id (atelier tokens), or --all')
  if (id === undefined) return removeAll(command.optsWithGlobals())
  await (await connect()).call('DELETE tokens/{id}', { params: { id } })
  if (command.optsWithGlobals().json) return printJson({ removed: id })
  print(`Removed the token ${id}`)
}

async function removeAll({ json }: { json?: true }): Promise<void> {
  const reply = await (await connect()).call('DELETE tokens')
  if (json) return printJson(reply)
  print(`Removed ${tokensOf(reply.ended)} of yours; the one this command uses stays`)
}

/** `3 tokens`. */
export function tokensOf(count: number): string {
  return count === 1 ? 'one token' : `${count} tokens`
}

function parseDays(text: string): number {
  const days = Number(text)
  if (Number.isInteger(days) && days >= 1 && days <= 3650) return days
  throw new InvalidArgumentError('It must be a number of days from 1 to 3650.')
}
