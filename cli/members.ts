import { type Command, Option } from 'commander'
import { type AppOptions, connectToApp, listsByDefault, withApp } from './context.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'

type Role = 'owner' | 'deployer' | 'viewer'

const roles = new Option('--role <role>', 'owner: everything to this app; deployer: deploy it; viewer: look at it')
  .choices(['owner', 'deployer', 'viewer'])
  .default('deployer')

export function register(program: Command): void {
  const members = listsByDefault(
    withApp(program.command('members')).description('list people with a role on an app, give roles and take them'),
    (_, command) => list(command.optsWithGlobals()),
  )
  withApp(members.command('list'))
    .description('list them')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  for (const name of ['add', 'set'])
    withApp(members.command(name))
      .description(name === 'add' ? 'give a person a role' : 'give a person another role')
      .argument('<person>', 'their name; an admin invites people: atelier people')
      .addOption(roles)
      .action((person: string, _, command: Command) => set(person, command.optsWithGlobals()))
  withApp(members.command('rm'))
    .description('take the role of a person; their tokens lose it at once')
    .argument('<person>')
    .action((person: string, _, command: Command) => remove(person, command.optsWithGlobals()))
}

async function list(options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const pages = await everyPage((query) => client.call('GET apps/{app}/members', { params: { app }, query }))
  const reply = { members: pages.flatMap(({ members }) => members) }
  if (options.json) return printJson(reply)
  if (reply.members.length === 0)
    return print(`${app} has no members, so only admins see it; give somebody a role: atelier members add <person>`)
  printTable(
    ['PERSON', 'ROLE', 'SINCE', 'BY'],
    reply.members.map(({ person, role, since, added_by }) => [person, role, ago(since), added_by]),
  )
}

async function set(person: string, options: AppOptions & { role: Role }): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('PUT apps/{app}/members/{person}', {
    params: { app, person },
    json: { role: options.role },
  })
  if (options.json) return printJson(reply)
  print(`${person} is ${reply.role} of ${app}`)
}

async function remove(person: string, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  await client.call('DELETE apps/{app}/members/{person}', { params: { app, person } })
  if (options.json) return printJson({ removed: person, app_id: app })
  print(`${person} has no role on ${app} any more`)
}
