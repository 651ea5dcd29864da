import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { readStdin } from './ask.ts'
import type { Client } from './client.ts'
import { type AppOptions, connectToApp, listsByDefault, withApp } from './context.ts'
import { parseDotenv } from './dotenv.ts'
import { Failure, usage } from './failure.ts'
import { git } from './git.ts'
import { ago, note, print, printJson, printTable } from './output.ts'
import { redeployApp } from './redeploy.ts'
import { readFields, readList } from './reply.ts'

type Options = AppOptions & { preview?: true; branch?: string }
type ChangeOptions = Options & { redeploy?: true }
type SetOptions = ChangeOptions & { runtimeOnly?: boolean; readable?: boolean; file?: string }
type Scope = { environment: 'production' | 'preview'; branch: string | undefined }

export function register(program: Command): void {
  const env = listsByDefault(
    withScope(program.command('env')).description('list, set, import and unset variables'),
    list,
  )
  withScope(env.command('list'))
    .description('list names, and the values of those that were set as readable')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withSet(env.command('set'))
    .description('set variables; they reach the app with its next deployment')
    .argument('[NAME=value...]', 'NAME=- reads the value from standard input')
    .option('--file <path>', 'read NAME=value lines from a file, too; - is standard input')
    .action((pairs: string[], _, command: Command) => set(pairs, command.optsWithGlobals()))
  withSet(env.command('import'))
    .description('set the variables of a .env file; what it does not name stays as it is')
    .argument('[file]', 'the file; - is standard input', '.env')
    .action((file: string, _, command: Command) => set([], { ...command.optsWithGlobals(), file }, { isImport: true }))
  withChange(env.command('unset'))
    .description('remove variables')
    .argument('<NAME...>')
    .action((names: string[], _, command: Command) => unset(names, command.optsWithGlobals()))
}

function withScope(command: Command): Command {
  return withApp(command)
    .option('--preview', 'of all previews; default: of production')
    .option('--branch <branch>', 'of the preview of this branch, where they go before those of all previews')
}

function withChange(command: Command): Command {
  return withScope(command).option('--redeploy', 'deploy what is live again with them, without building')
}

function withSet(command: Command): Command {
  return withChange(command)
    .option(
      '--runtime-only',
      'keep them from builds; of one that is there already, --no-runtime-only lets builds see it',
    )
    .option('--no-runtime-only')
    .option('--readable', 'show their values to whoever may see the app; --no-readable: never again')
    .option('--no-readable')
}

async function list(options: Options): Promise<void> {
  const { client, app } = await connectToApp(options)
  const scope = scopeOf(options)
  const reply = await client.call('GET apps/{app}/env', { params: { app }, query: scope })
  if (options.json) return printJson(reply)
  const variables = readList(reply, 'variables', (one) =>
    readFields(one, {
      name: 'string',
      branch: 'string?',
      value: 'string?',
      runtime_only: 'boolean',
      updated_at: 'string',
      updated_by: 'string',
    }),
  )
  if (variables.length === 0) {
    const flag = scope.branch ? ` --branch ${scope.branch}` : options.preview ? ' --preview' : ''
    print(`there are no variables for ${nameOf(app, scope)}; set one with: atelier env set NAME=value${flag}`)
  } else {
    printTable(
      ['NAME', 'VALUE', 'FOR', ...(scope.branch ? ['OF'] : []), 'SET', 'BY'],
      variables.map((one) => [
        one.name,
        one.value === null ? 'hidden' : shown(one.value),
        one.runtime_only ? 'run' : 'build and run',
        ...(scope.branch ? [one.branch ?? 'all previews'] : []),
        ago(one.updated_at),
        one.updated_by,
      ]),
    )
  }
  const branches = readList(reply, 'branches', String)
  if (branches.length > 0 && !scope.branch) print(`Branches with variables of their own: ${branches.join(', ')}`)
  for (const line of staleLines(reply)) print(line)
}

async function set(
  pairs: string[],
  options: SetOptions,
  { isImport = false }: { isImport?: boolean } = {},
): Promise<void> {
  const given = { ...(await readEnvFile(options.file)), ...(await readPairs(pairs, options.file)) }
  // A .env file that an app is run with at home names its port, too.
  const own = isImport ? Object.keys(given).filter((name) => name === 'PORT' || name.startsWith('ATELIER_')) : []
  const values = Object.fromEntries(Object.entries(given).filter(([name]) => !own.includes(name)))
  const names = Object.keys(values)
  if (own.length > 0) note(`${own.join(', ')}: left out, the platform sets ${own.length === 1 ? 'it' : 'them'} itself`)
  if (names.length === 0)
    throw isImport
      ? new Failure(`${options.file} holds no variable to set`)
      : usage('there is nothing to set; write NAME=value, or --file <path>')
  const { client, app } = await connectToApp(options)
  const scope = scopeOf(options)
  const reply = await client.call('PUT apps/{app}/env', {
    params: { app },
    json: { ...scope, values, runtime_only: options.runtimeOnly, readable: options.readable },
  })
  const changed = readList(reply, 'changed', String)
  const same = names.length - changed.length
  const done =
    changed.length > 0
      ? `Set ${changed.join(', ')} for ${nameOf(app, scope)}`
      : `Nothing to change for ${nameOf(app, scope)}`
  const rest = same > 0 ? `; ${same === 1 ? 'one was' : `${same} were`} so already` : ''
  await afterChange(`${done}${rest}`, { client, app, reply }, options)
}

async function unset(names: string[], options: ChangeOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const scope = scopeOf(options)
  const query = { ...scope, names: names.join(',') }
  const reply = await client.call('DELETE apps/{app}/env', { params: { app }, query })
  const removed = readList(reply, 'removed', String)
  const missing = names.filter((name) => !removed.includes(name))
  const refusal = `there is no variable ${missing.join(', ')} for ${nameOf(app, scope)}; see: atelier env list`
  if (removed.length === 0) throw new Failure(refusal)
  await afterChange(`Removed ${removed.join(', ')} for ${nameOf(app, scope)}`, { client, app, reply }, options)
  if (missing.length === 0) return
  note(`atelier: ${refusal}`)
  throw new Failure(refusal, { isTold: true })
}

async function afterChange(
  done: string,
  { client, app, reply }: { client: Client; app: string; reply: unknown },
  options: ChangeOptions,
): Promise<void> {
  if (!options.json) {
    print(done)
    if (!options.redeploy) for (const line of staleLines(reply)) print(line)
  }
  if (!options.redeploy) {
    if (options.json) printJson(reply)
    return
  }
  const { environment, branch } = scopeOf(options)
  const preview = environment === 'preview' ? (branch ?? (await currentBranch())) : undefined
  const deployment = await redeployApp(client, { app_id: app, branch: preview }, options.json ?? false)
  if (options.json) printJson(deployment)
}

const mostStaleLines = 5

// "main (3f2a91c) runs with GREETING as it was: atelier redeploy"
function staleLines(reply: unknown): string[] {
  const stale = readList(reply, 'stale', (one) => ({
    ...readFields(one, { version: 'string', branch: 'string', environment: 'string' }),
    names: readList(one, 'names', String),
  }))
  const lines = stale.slice(0, mostStaleLines).map(({ version, branch, environment, names }) => {
    const which = /^[0-9a-f]{40,64}$/.test(version) ? version.slice(0, 7) : version
    const flags = [
      ...(environment === 'preview' ? [` --branch ${branch}`] : []),
      ...(names.some(isBuiltIn) ? [' --build'] : []),
    ].join('')
    return `${branch} (${which}) runs with ${names.join(', ')} as before and needs a redeploy: atelier redeploy${flags}`
  })
  const more = stale.length - mostStaleLines
  return more > 0 ? [...lines, `${more} more previews need a redeploy, too`] : lines
}

// Their values are written into the files browsers load.
function isBuiltIn(name: string): boolean {
  return /^(VITE_|NEXT_PUBLIC_|PUBLIC_)/.test(name)
}

function scopeOf({ preview, branch }: Options): Scope {
  return { environment: preview || branch ? 'preview' : 'production', branch }
}

function nameOf(app: string, { environment, branch }: Scope): string {
  if (branch) return `the preview of ${branch} of ${app}`
  return environment === 'preview' ? `previews of ${app}` : `production of ${app}`
}

function shown(value: string): string {
  const line = JSON.stringify(value).slice(1, -1)
  return line.length > 60 ? `${line.slice(0, 59)}…` : line
}

async function readEnvFile(path: string | undefined): Promise<Record<string, string>> {
  if (path === undefined) return {}
  const name = path === '-' ? 'standard input' : path
  const text = await (path === '-' ? readStdin() : readFile(path, 'utf8')).catch((thrown: unknown) => {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT')
      throw new Failure(`${name} cannot be read: there is no such file`)
    throw new Failure(`${name} cannot be read: ${thrown instanceof Error ? thrown.message : thrown}`)
  })
  return parseDotenv(text, { path: name })
}

async function readPairs(pairs: string[], file: string | undefined): Promise<Record<string, string>> {
  const values: Record<string, string> = {}
  let isStdinRead = file === '-'
  for (const pair of pairs) {
    const [, name, value] = /^([^=]+)=([\s\S]*)$/.exec(pair) ?? []
    if (name === undefined || value === undefined)
      throw usage(`${pair.split('=')[0]} has no value; write NAME=value, or NAME=- to read it from standard input`)
    if (value === '-' && isStdinRead) throw usage('standard input can hold one value only')
    // A program that prints a secret ends its line, and that is not part of it.
    values[name] = value === '-' ? (await readStdin()).replace(/\r?\n$/, '') : value
    isStdinRead ||= value === '-'
  }
  return values
}

async function currentBranch(): Promise<string> {
  const { stdout } = await git(['branch', '--show-current'])
  if (stdout) return stdout
  throw usage('it is not said which preview to deploy again; add --branch <branch>')
}
