import { Argument, type Command } from 'commander'

const roles = {
  gateway: 'git-gateway',
  worker: 'build-workers',
  registry: 'registry',
  proxy: 'proxy',
}

export function register(program: Command): void {
  program
    .command('serve')
    .description('run one role of the platform in this process, set up by ATELIER_ variables; see docs/apart.md')
    .addArgument(new Argument('<role>', 'which').choices(Object.keys(roles)))
    .action(async (role: keyof typeof roles) => {
      const { prepareRole } = await import('./up/single-role.ts')
      await prepareRole(role)
      await import(`../${roles[role]}/main.ts`)
    })
}
