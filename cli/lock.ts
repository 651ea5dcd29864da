import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { print, printJson } from './output.ts'

export function register(program: Command): void {
  withApp(program.command('lock'))
    .description("let no new version into an app's production; previews and going back are not held")
    .requiredOption('-m, --message <why>', 'why, for those who meet the lock')
    .action(lock)
}

async function lock(options: AppOptions & { message: string }): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('POST lock', { json: { app_id: app, message: options.message } })
  if (options.json) return printJson(reply)
  print(`${app} is locked: ${options.message}`)
  print('to lift it: atelier unlock')
}
