import type { Command } from 'commander'
import { connectToApp } from './context.ts'
import { follow } from './follow.ts'
import { movedSince } from './moved-since.ts'
import { print, printJson } from './output.ts'
import { field } from './reply.ts'
import { fullName, type OrderOptions, withOrder } from './rollout-order.ts'

export function register(program: Command): void {
  withOrder(program.command('promote'))
    .description(
      'give the new version of a rollout more of the traffic, or make a preview or an earlier version production',
    )
    .argument('<to>', 'a share of the traffic (25, 100), or a git SHA, a number (v17), a time or a release')
    .action(promote)
}

async function promote(to: string, options: OrderOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const json = options.json ?? false
  let moved: unknown = null
  const start = async function* () {
    const order = { app_id: app, to, of: options.of, reason: options.message }
    for await (const event of client.stream('POST promote', { json: order })) {
      if (field(event, 'type') === 'end') moved = field(event, 'moved_since') ?? null
      yield event
    }
  }
  const deployment = await follow(client, start, { json })
  if (json) return printJson(moved === null ? deployment : { ...deployment, moved_since: moved })
  if (deployment.state === 'live') print(`${fullName(deployment)} is live at ${deployment.url}`)
  else print(`${fullName(deployment)} has ${shareOf(to)} of the traffic; watch it: atelier status`)
  for (const sentence of moved === null ? [] : movedSince(moved)) print(sentence)
}

// What came in by its version has the first stage of a rollout, whatever that is.
function shareOf(to: string): string {
  return /^\d{1,3}\s*%?$/.test(to) ? `${Number.parseInt(to, 10)} %` : 'its first share'
}
