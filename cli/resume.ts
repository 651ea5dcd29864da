import type { Command } from 'commander'
import { withApp } from './context.ts'
import { fullName, type OrderOptions, order } from './rollout-order.ts'

export function register(program: Command): void {
  withApp(program.command('resume'))
    .description('let the clock of a paused rollout go on')
    .option('-m, --message <why>', 'why, for the others')
    .action(resume)
}

async function resume(options: OrderOptions): Promise<void> {
  await order('resume', options, ({ deployment, percent }) => [`${fullName(deployment)} goes on at ${percent} %`])
}
