import type { Client } from './client.ts'
import { LiveLines } from './live-lines.ts'
import { print } from './output.ts'
import { field } from './reply.ts'
import { readOptional, readRollout } from './rollout-json.ts'
import { outcomeOf, rolloutLines } from './rollout-text.ts'

/** Shows the rollout of an app in place as it goes on, until it is over. Only for a terminal; Ctrl-C ends the watching and not the rollout. */
export async function watchRollout(client: Client, app: string): Promise<void> {
  const view = new LiveLines()
  for await (const event of client.stream('GET apps/{app}/rollout', { params: { app }, query: { follow: true } })) {
    if (field(event, 'type') !== 'rollout') continue
    const rollout = readOptional(field(event, 'rollout'), readRollout)
    if (!rollout) return
    view.draw(rolloutLines(rollout))
    if (rollout.state === 'done') print(outcomeOf(rollout))
  }
}
