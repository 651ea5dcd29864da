import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { print, printJson } from './output.ts'
import { type Deployment, field, readDeployment, readFields, shortVersion } from './reply.ts'

export type OrderOptions = AppOptions & { message?: string; of?: string }

type Moved = { app: string; deployment: Deployment; percent: number; reply: unknown }

/** The options of every order. */
export function withOrder(command: Command): Command {
  return withApp(command)
    .option('--of <version>', 'only while the rollout under way is that of this version (v17)')
    .option('-m, --message <why>', 'why, for the others')
}

/** Gives a rollout an order and says what it is now. */
export async function order(
  what: 'pause' | 'resume' | 'abort',
  options: OrderOptions,
  tell: (moved: Moved) => string[],
): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call(`POST ${what}`, { json: { app_id: app, reason: options.message, of: options.of } })
  if (options.json) return printJson(reply)
  const { percent } = readFields(reply, { percent: 'number' })
  for (const line of tell({ app, deployment: readDeployment(field(reply, 'deployment')), percent, reply })) print(line)
}

/** `hello 3f2a91c (v17)` */
export function fullName({ app_id, version, number }: Deployment): string {
  return `${app_id} ${shortVersion(version)} (v${number})`
}
