import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { ago, print, printJson } from './output.ts'
import { readFields, readList } from './reply.ts'

export function register(program: Command): void {
  withApp(program.command('unlock'))
    .description('lift the lock of an app, and the hold on automatic deployments')
    .action(unlock)
}

async function unlock(options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('POST unlock', { json: { app_id: app } })
  if (options.json) return printJson(reply)
  const lifted = readList(reply, 'lifted', readLock)
  if (lifted.length === 0) return print(`${app} was not locked`)
  for (const { kind, message, by, at } of lifted) {
    if (kind === 'lock') print(`${app} is unlocked; it was locked by ${by} ${ago(at)}: ${message}`)
    else print(`automatic deployments of ${app} go on; they have waited (${ago(at)}): ${message}`)
  }
}

function readLock(lock: unknown) {
  return readFields(lock, { kind: 'string', message: 'string', by: 'string', at: 'string' })
}
