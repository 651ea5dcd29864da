import type { Command } from 'commander'
import type { Client } from './client.ts'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { follow, type Until } from './follow.ts'
import { printJson } from './output.ts'
import type { Deployment } from './reply.ts'

type Options = AppOptions & { branch?: string; build?: true; follow?: true; skipCanary?: true; forceBuild?: true }

export function register(program: Command): void {
  withApp(program.command('redeploy'))
    .description('deploy a built version again, with the variables as they are now; nothing is built')
    .argument('[version]', 'default: what is live')
    .option('--branch <branch>', 'the preview of this branch; default: production')
    .option('--build', 'build it again, for variables that are built into it')
    .option('--force-build', 'build it again without what earlier builds have kept')
    .option('--skip-canary', 'give it all traffic at once')
    .option('-f, --follow', 'stay until its rollout is over, and fail when it is taken back')
    .action(redeploy)
}

async function redeploy(version: string | undefined, options: Options): Promise<void> {
  const { client, app } = await connectToApp(options)
  const { branch, build = false, forceBuild: force = false, json = false } = options
  const canary = options.skipCanary ? 'skip' : undefined
  const until = options.follow ? 'verdict' : 'traffic'
  const deployment = await redeployApp(client, { app_id: app, version, branch, build, force, until, canary }, json)
  if (json) printJson(deployment)
}

/** Deploys again and follows to the end. */
export function redeployApp(
  client: Client,
  request: {
    app_id: string
    version?: string
    branch?: string
    build?: boolean
    force?: boolean
    until?: Until
    canary?: 'skip'
  },
  json: boolean,
): Promise<Deployment> {
  return follow(client, () => client.stream('POST redeploy', { json: request }), { json, until: request.until })
}
