import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { readStdin } from './ask.ts'
import type { ApiEvent, Asked, Client } from './client.ts'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { Failure, usage } from './failure.ts'
import { follow, type Until } from './follow.ts'
import { print, printJson } from './output.ts'
import { packFolder } from './source.ts'

type Options = AppOptions & {
  version?: string
  branch?: string
  follow?: true
  skipCanary?: true
  forceBuild?: true
  unlock?: true
  git?: string
  ref?: string
  gitToken?: string
}

export function register(program: Command): void {
  withApp(program.command('deploy'))
    .description(
      'deploy a folder without git, or a commit of a git host; of a folder what .gitignore names, .git and node_modules stay at home',
    )
    .argument('[folder]', 'what to deploy; default: this one')
    .option('--version <version>', 'its name, as in 1.2.3; default: the time')
    .option('--branch <branch>', 'deploy a preview of this branch')
    .option(
      '--git <url>',
      'in place of a folder: a repository at a git host, over https or http, for the platform to fetch',
    )
    .option('--ref <ref>', 'with --git: a branch, a tag or a commit; default: what the host has as HEAD')
    .option('--git-token <token>', 'with --git: of a private repository; - reads it from standard input')
    .option('--skip-canary', 'give it all traffic at once')
    .option('--force-build', 'build without what earlier builds have kept')
    .option('--unlock', "lift the lock of the app's production first, whoever's it is")
    .option('-f, --follow', 'stay until its rollout is over, and fail when it is taken back')
    .action(deploy)
}

async function deploy(folder: string | undefined, options: Options): Promise<void> {
  const { git, ref, gitToken, json = false } = options
  if (git !== undefined && folder !== undefined) throw usage('deploy a folder, or --git; not both')
  if (git === undefined && (ref ?? gitToken) !== undefined) throw usage('--ref and --git-token go with --git')
  const until: Until = options.follow ? 'verdict' : 'traffic'
  const wanted: Wanted = {
    ...{ version: options.version, branch: options.branch, until, force: options.forceBuild, unlock: options.unlock },
    canary: options.skipCanary ? 'skip' : undefined,
  }
  const { client, start } =
    git === undefined ? await ofFolder(folder ?? '.', wanted, options) : await ofGit(git, wanted, options)
  const deployment = await follow(client, start, { json, until })
  if (json) printJson(deployment)
  else if (deployment.environment === 'preview')
    print(`       make it production: atelier promote v${deployment.number}`)
}

type Wanted = Pick<
  NonNullable<Asked<'POST deploy'>['json']>,
  'version' | 'branch' | 'until' | 'force' | 'unlock' | 'canary'
>
type Starting = { client: Client; start: () => AsyncIterable<ApiEvent<'POST deploy'>> }

async function ofGit(git: string, wanted: Wanted, options: Options): Promise<Starting> {
  const { client, app } = await connectToApp(options)
  const token = options.gitToken === '-' ? (await readStdin()).trim() : options.gitToken
  const json = { app_id: app, source: { git, ref: options.ref, token }, ...wanted }
  return { client, start: () => client.stream('POST deploy', { json }) }
}

async function ofFolder(folder: string, wanted: Wanted, options: Options): Promise<Starting> {
  const found = await stat(folder).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR') return null
    throw new Failure(`${folder} cannot be read (${thrown.code}); deploy a folder that is yours`)
  })
  if (!found?.isDirectory()) throw usage(`${folder} is not a folder; deploy one, as in: atelier deploy dist`)
  const { client, app } = await connectToApp(options)
  const body = await packFolder(folder)
  const stream = { body, type: 'application/gzip' } as const
  return { client, start: () => client.stream('POST deploy', { query: { app, ...wanted }, stream }) }
}
