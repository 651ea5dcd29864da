import { readFile } from 'node:fs/promises'
import { parseEnv } from 'node:util'
import type { Command } from 'commander'
import { readStdin } from './ask.ts'
import { type AppOptions, connectToApp, listsByDefault, withApp } from './context.ts'
import { Failure, usage } from './failure.ts'
import { git } from './git.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { redeployApp } from './redeploy.ts'
import { readFields, readList } from './reply.ts'

type Options = AppOptions & { preview?: true }
type ChangeOptions = Options & { redeploy?: true; branch?: string }
type SetOptions = ChangeOptions & { runtimeOnly?: true; file?: string }

export function register(program: Command): void {
  const env = listsByDefault(
    withScope(program.command('env')).description('list, set and unset variables; values are never shown again'),
    list,
  )
  withScope(env.command('list'))
    .description('list names')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withChange(env.command('set'))
    .description('set variables; they reach the app with its next deployment')
    .argument('[NAME=value...]', 'NAME=- reads the value from standard input')
    .option('--runtime-only', 'keep them from builds')
    .option('--file <path>', 'read NAME=value lines from a file; - is standard input')
    .action((pairs: string[], _, command: Command) => set(pairs, command.optsWithGlobals()))
  withChange(env.command('unset'))
    .description('remove variables')
    .argument('<NAME...>')
    .action((names: string[], _, command: Command) => unset(names, command.optsWithGlobals()))
}

function withScope(command: Command): Command {
  return withApp(command).option('--preview', 'of previews; default: of production')
}

function withChange(command: Command): Command {
  return withScope(command)
    .option('--redeploy', 'deploy what is live again with them, without building')
    .option('--branch <branch>', 'with --preview --redeploy: which preview; default: the current branch')
}

async function list(options: Options): Promise<void> {
  const { client, app } = await connectToApp(options)
  const environment = environmentOf(options)
  const reply = await client.call('GET apps/{app}/env', { params: { app }, query: { environment } })
  if (options.json) return printJson(reply)
  const variables = readList(reply, 'variables', (one) =>
    readFields(one, { name: 'string', runtime_only: 'boolean', updated_at: 'string', updated_by: 'string' }),
  )
  if (variables.length === 0)
    return print(`${app} has no ${environment} variables; set one with: atelier env set NAME=value`)
  printTable(
    ['NAME', 'FOR', 'SET', 'BY'],
    variables.map((one) => [one.name, one.runtime_only ? 'run' : 'build and run', ago(one.updated_at), one.updated_by]),
  )
}

async function set(pairs: string[], options: SetOptions): Promise<void> {
  const values = { ...(await readEnvFile(options.file)), ...(await readPairs(pairs, options.file)) }
  const names = Object.keys(values)
  if (names.length === 0) throw usage('there is nothing to set; write NAME=value, or --file <path>')
  const { client, app } = await connectToApp(options)
  const reply = await client.call('PUT apps/{app}/env', {
    params: { app },
    json: { environment: environmentOf(options), values, runtime_only: options.runtimeOnly ?? false },
  })
  await afterChange(`Set ${names.join(', ')}`, { client, app, reply }, options)
}

async function unset(names: string[], options: ChangeOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const query = { environment: environmentOf(options), names: names.join(',') }
  const reply = await client.call('DELETE apps/{app}/env', { params: { app }, query })
  const removed = readList(reply, 'removed', String)
  const missing = names.filter((name) => !removed.includes(name))
  if (missing.length > 0)
    throw new Failure(`${app} has no ${query.environment} variable ${missing.join(', ')}; see: atelier env list`)
  await afterChange(`Removed ${removed.join(', ')}`, { client, app, reply }, options)
}

async function afterChange(
  done: string,
  { client, app, reply }: Awaited<ReturnType<typeof connectToApp>> & { reply: unknown },
  options: ChangeOptions,
): Promise<void> {
  const where = `${environmentOf(options)} of ${app}`
  if (!options.json)
    print(`${done} for ${where}${options.redeploy ? '' : '; the next deployment has it, or now: atelier redeploy'}`)
  if (!options.redeploy) {
    if (options.json) printJson(reply)
    return
  }
  const branch = options.preview ? (options.branch ?? (await currentBranch())) : undefined
  const deployment = await redeployApp(client, { app_id: app, branch }, options.json ?? false)
  if (options.json) printJson(deployment)
}

function environmentOf({ preview }: Options): 'production' | 'preview' {
  return preview ? 'preview' : 'production'
}

async function readEnvFile(path: string | undefined): Promise<Record<string, string>> {
  if (path === undefined) return {}
  try {
    const text = path === '-' ? await readStdin() : await readFile(path, 'utf8')
    return Object.fromEntries(Object.entries(parseEnv(text)).map(([name, value]) => [name, value ?? '']))
  } catch (thrown) {
    throw new Failure(`${path} cannot be read: ${thrown instanceof Error ? thrown.message : thrown}`)
  }
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
