import type { Command } from 'commander'
import { fullName, type OrderOptions, order, withOrder } from './rollout-order.ts'

export function register(program: Command): void {
  withOrder(program.command('resume')).description('let the clock of a paused rollout go on').action(resume)
}

async function resume(options: OrderOptions): Promise<void> {
  await order('resume', options, ({ deployment, percent }) => [`${fullName(deployment)} goes on at ${percent} %`])
}
