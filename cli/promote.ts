import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { follow } from './follow.ts'
import { print, printJson } from './output.ts'
import { shortVersion } from './reply.ts'

export function register(program: Command): void {
  withApp(program.command('promote'))
    .description('make a preview, or a version that was live before, production; nothing is built')
    .argument('<version>', 'a git SHA, a number (v17), a time or a release')
    .action(promote)
}

async function promote(to: string, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const json = options.json ?? false
  const start = () => client.stream('POST', 'promote', { json: { app_id: app, to } })
  const deployment = await follow(client, start, { json })
  if (json) return printJson(deployment)
  print(`${app} ${shortVersion(deployment.version)} (v${deployment.number}) is live at ${deployment.url}`)
}
