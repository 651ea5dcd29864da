import type { Command } from 'commander'
import { fullName, type OrderOptions, order, withOrder } from './rollout-order.ts'

export function register(program: Command): void {
  withOrder(program.command('pause'))
    .description('stop the clock of a rollout; the new version keeps its share of the traffic')
    .action(pause)
}

async function pause(options: OrderOptions): Promise<void> {
  await order('pause', options, ({ deployment, percent }) => [
    `${fullName(deployment)} is paused at ${percent} %`,
    'on: atelier resume, or: atelier promote <percent>; back: atelier abort',
  ])
}
