import type { Command } from 'commander'
import { withApp } from './context.ts'
import { fullName, type OrderOptions, order } from './rollout-order.ts'

export function register(program: Command): void {
  withApp(program.command('abort'))
    .description('end a rollout: all traffic goes back to the old version')
    .option('-m, --message <why>', 'why, for the others')
    .action(abort)
}

async function abort(options: OrderOptions): Promise<void> {
  await order('abort', options, ({ deployment }) => [
    `${fullName(deployment)} is taken back; the old version has all traffic`,
    'automatic deployments wait until you deploy by hand, or: atelier unlock',
  ])
}
