import type { Command } from 'commander'
import { readFields } from './reply.ts'
import { fullName, type OrderOptions, order, withOrder } from './rollout-order.ts'

export function register(program: Command): void {
  withOrder(program.command('abort'))
    .description('end a rollout: all traffic goes back to the old version')
    .action(abort)
}

async function abort(options: OrderOptions): Promise<void> {
  await order('abort', options, ({ deployment, reply }) => [
    `${fullName(deployment)} is taken back; ${whoFollows(readFields(reply, { missing: 'number' }).missing)}`,
    'automatic deployments wait until you deploy by hand, or: atelier unlock',
  ])
}

function whoFollows(missing: number): string {
  if (missing === 0) return 'the old version has all traffic'
  const who = missing === 1 ? '1 proxy has' : `${missing} proxies have`
  return `${who} not said so yet and may still send visitors to it; see: atelier status`
}
