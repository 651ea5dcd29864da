import type { Command } from 'commander'
import { withJson } from './context.ts'
import { Failure } from './failure.ts'

export function register(program: Command): void {
  withJson(program.command('doctor'))
    .description(
      'look at this machine as the platform would: walls, disk, ports, names, database, and what to do about each',
    )
    .action(async ({ json }: { json?: true }) => {
      const { doctor } = await import('./up/doctor/main.ts')
      if (!(await doctor({ json }))) throw new Failure('something has to be mended', { code: 'DOCTOR', isTold: true })
    })
}
