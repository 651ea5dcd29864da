import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { movedSince } from './moved-since.ts'
import { paint, print, printJson } from './output.ts'
import { type Deployment, field, readDeployment, shortVersion } from './reply.ts'

export function register(program: Command): void {
  withApp(program.command('rollback'))
    .description('go back to the version that was live before, or to a named one; nothing is built')
    .argument('[version]', 'a git SHA (3f2a91c), a number (v17), a time (20260328-153042) or a release (1.2.3)')
    .action(rollback)
}

async function rollback(version: string | undefined, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('POST rollback', { json: { app_id: app, version } })
  if (options.json) return printJson(reply)
  const open = field(reply, 'on_its_way')
  const [live, previous] = [readDeployment(field(reply, 'live')), readDeployment(field(reply, 'previous'))]
  if (live.id === previous.id) return print(`${app} ${nameOf(live)} is live already at ${live.url}`)
  print(`${app} ${nameOf(live)} is ${paint('green', 'live')} again at ${live.url}`)
  print(`to return to ${nameOf(previous)}: atelier rollback ${shortNameOf(previous, live)}`)
  for (const sentence of movedSince(field(reply, 'moved_since'))) print(sentence)
  if (open) {
    const next = readDeployment(open)
    print(`${nameOf(next)} is on its way and will replace it; to stop that: atelier cancel ${next.id}`)
  }
}

function nameOf({ version, number }: Deployment): string {
  return `${shortVersion(version)} (v${number})`
}

// One version may have been deployed twice; then only the number tells them apart.
function shortNameOf(previous: Deployment, live: Deployment): string {
  return previous.version === live.version ? `v${previous.number}` : shortVersion(previous.version)
}
