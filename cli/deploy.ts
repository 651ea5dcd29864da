import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { Failure, usage } from './failure.ts'
import { follow } from './follow.ts'
import { print, printJson } from './output.ts'
import { packFolder } from './source.ts'

type Options = AppOptions & {
  version?: string
  branch?: string
  follow?: true
  skipCanary?: true
  forceBuild?: true
  unlock?: true
}

export function register(program: Command): void {
  withApp(program.command('deploy'))
    .description('deploy a folder without git; what .gitignore names, .git and node_modules stay at home')
    .argument('[folder]', 'what to deploy', '.')
    .option('--version <version>', 'its name, as in 1.2.3; default: the time')
    .option('--branch <branch>', 'deploy a preview of this branch')
    .option('--skip-canary', 'give it all traffic at once')
    .option('--force-build', 'build without what earlier builds have kept')
    .option('--unlock', "lift the lock of the app's production first, whoever's it is")
    .option('-f, --follow', 'stay until its rollout is over, and fail when it is taken back')
    .action(deploy)
}

async function deploy(folder: string, options: Options): Promise<void> {
  const found = await stat(folder).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR') return null
    throw new Failure(`${folder} cannot be read (${thrown.code}); deploy a folder that is yours`)
  })
  if (!found?.isDirectory()) throw usage(`${folder} is not a folder; deploy one, as in: atelier deploy dist`)
  const { client, app } = await connectToApp(options)
  const { version, branch, json = false } = options
  const body = await packFolder(folder)
  const until = options.follow ? 'verdict' : 'traffic'
  const canary = options.skipCanary ? 'skip' : undefined
  const { forceBuild: force, unlock } = options
  const start = () =>
    client.stream('POST deploy', {
      query: { app, version, branch, until, canary, force, unlock },
      stream: { body, type: 'application/gzip' },
    })
  const deployment = await follow(client, start, { json, until })
  if (json) printJson(deployment)
  else if (deployment.environment === 'preview')
    print(`       make it production: atelier promote v${deployment.number}`)
}
