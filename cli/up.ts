import type { Command } from 'commander'

export function register(program: Command): void {
  program
    .command('up')
    .description('start the whole platform in this terminal, with everything it needs; Ctrl-C stops it in order')
    .argument('[arguments...]')
    .action(async (args: string[]) => {
      const { up } = await import('./up/main.ts')
      await up(args)
    })
}
