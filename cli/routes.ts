import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { print, printJson, printTable } from './output.ts'
import { field, readFields, readList, shortVersion } from './reply.ts'

const mostMade = 5

export function register(program: Command): void {
  withApp(program.command('routes'))
    .description('what a version answers: its pages, API routes and paths made ahead, as far as they are known')
    .argument('[version]', 'a git SHA or its beginning, v17, a time or a release; default: the live one')
    .action(routes)
}

async function routes(version: string | undefined, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const query = version === undefined ? {} : { version }
  const reply = await client.call('GET apps/{app}/routes', { params: { app }, query })
  if (options.json) return printJson(reply)
  const of = readFields(reply, { version: 'string', number: 'number', framework: 'string' })
  const rows = readList(reply, 'routes', rowOf)
  if (rows.length === 0)
    print(`${shortVersion(of.version)} (v${of.number}): its routes are known to the app alone (${of.framework})`)
  else printTable(['KIND', 'PATH', 'METHODS', 'RENDERED', 'FROM'], rows)
  const made = readList(reply, 'static', (entry) => readFields(entry, { path: 'string', route: 'string' }))
  const others = made.filter(({ path, route }) => path !== route).map(({ path }) => path)
  if (others.length > 0) print(`made ahead: ${shown(others)}`)
  for (const note of readList(reply, 'notes', String)) print(note)
}

function rowOf(route: unknown): string[] {
  const {
    kind,
    path,
    rendering,
    source,
    revalidate_sec: seconds,
  } = readFields(route, {
    ...{ kind: 'string', path: 'string', rendering: 'string?', source: 'string?', revalidate_sec: 'number?' },
  })
  const methods = field(route, 'methods') === null ? 'any' : readList(route, 'methods', String).join(' ')
  const rendered = seconds === null ? (rendering ?? '-') : `${rendering} after ${seconds} s`
  return [kind, path, methods, rendered, source ?? '-']
}

function shown(paths: string[]): string {
  const left = paths.length - mostMade
  return paths.slice(0, mostMade).join(', ') + (left > 0 ? ` and ${left} more; all of them: --json` : '')
}
