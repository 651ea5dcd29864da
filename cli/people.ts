import { type Command, InvalidArgumentError, Option } from 'commander'
import { connect, listsByDefault, withJson } from './context.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'
import { tokensOf } from './tokens.ts'

type PlatformRole = 'admin' | 'member' | 'guest'
type Role = 'owner' | 'deployer' | 'viewer'
type Grant = { app: string; role: Role }
type Json = { json?: true }

const platformRoles = ['admin', 'member', 'guest']

export function register(program: Command): void {
  const people = listsByDefault(
    withJson(program.command('people')).description('list, invite and remove people; for admins of the platform'),
    (_, command) => list(command.optsWithGlobals()),
  )
  withJson(people.command('list'))
    .description('list people and their roles')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withJson(people.command('invite'))
    .description('make a person, and a one-time link with which they choose a password; hand it to them yourself')
    .argument('<name>', 'what they sign in with: a-z, 0-9 and ._@+-')
    .addOption(
      new Option('--platform-role <role>', 'admin: everything; member: may create apps; guest: only what --on says')
        .choices(platformRoles)
        .default('member'),
    )
    .option('--on <app:role>', 'a role on an app, as in --on hello:deployer; more than once for more', parseGrant, [])
    .action((name: string, _, command: Command) => invite(name, command.optsWithGlobals()))
  withJson(people.command('link'))
    .description('make a new one-time link for a person who has lost their password, or their first link')
    .argument('<name>')
    .action((name: string, _, command: Command) => link(name, command.optsWithGlobals()))
  withJson(people.command('role'))
    .description('make a person an admin, a member or a guest')
    .argument('<name>')
    .argument('<role>', 'admin, member or guest', parsePlatformRole)
    .action((name: string, role: PlatformRole, _, command: Command) => change(name, role, command.optsWithGlobals()))
  withJson(people.command('sign-out'))
    .description('sign a person out of every browser, as a new password does')
    .argument('<name>')
    .option('--tokens', 'and remove all their tokens, which a new password does not')
    .action((name: string, _, command: Command) => signOut(name, command.optsWithGlobals()))
  withJson(people.command('rm'))
    .description('remove a person with their roles, tokens and sessions')
    .argument('<name>')
    .option('--ownerless', 'also when apps are left without an owner')
    .action((name: string, _, command: Command) => remove(name, command.optsWithGlobals()))
}

async function list({ json }: Json): Promise<void> {
  const client = await connect()
  const people = (await everyPage((query) => client.call('GET people', { query }))).flatMap(({ people }) => people)
  if (json) return printJson({ people })
  if (people.length === 0)
    return print('There are no people yet, only tokens; invite one: atelier people invite <name>')
  printTable(
    ['NAME', 'ON THE PLATFORM', 'ON APPS', 'SINCE'],
    people.map(({ name, platform_role, roles, has_password, created_at }) => [
      name,
      platform_role,
      Object.entries(roles)
        .map(([app, role]) => `${app}:${role}`)
        .join(' '),
      has_password ? ago(created_at) : `invited ${ago(created_at)}`,
    ]),
  )
}

async function invite(name: string, { platformRole, on, json }: { platformRole: PlatformRole; on: Grant[] } & Json) {
  const roles = Object.fromEntries(on.map(({ app, role }) => [app, role]))
  const reply = await (await connect()).call('POST people', { json: { name, platform_role: platformRole, roles } })
  if (json) return printJson(reply)
  print(`${name} is invited. Give them this link; it is good once, until ${dayOf(reply.link.expires_at)}:`)
  print(reply.link.url)
}

async function link(name: string, { json }: Json): Promise<void> {
  const reply = await (await connect()).call('POST people/{person}/links', { params: { person: name } })
  if (json) return printJson(reply)
  print(`With this link ${name} chooses a password; it is good once, until ${dayOf(reply.expires_at)}:`)
  print(reply.url)
}

async function change(name: string, role: PlatformRole, { json }: Json): Promise<void> {
  await (await connect()).call('PUT people/{person}', { params: { person: name }, json: { platform_role: role } })
  if (json) return printJson({ name, platform_role: role })
  print(`${name} is ${role === 'admin' ? 'an' : 'a'} ${role} of the platform`)
}

async function signOut(name: string, { tokens, json }: { tokens?: true } & Json): Promise<void> {
  const client = await connect()
  const params = { person: name }
  const reply = await client.call('DELETE people/{person}/sessions', { params })
  // Last: among them may be the one this command uses.
  const removed = tokens ? await client.call('DELETE people/{person}/tokens', { params }) : null
  if (json) return printJson({ ...reply, ...(removed && { tokens_removed: removed.ended }) })
  print(`${name} is signed out of ${reply.ended === 1 ? 'one browser' : `${reply.ended} browsers`}`)
  if (removed) print(`Removed ${tokensOf(removed.ended)} of theirs`)
}

async function remove(name: string, { ownerless, json }: { ownerless?: true } & Json): Promise<void> {
  const client = await connect()
  await client.call('DELETE people/{person}', { params: { person: name }, query: { ownerless: ownerless ?? false } })
  if (json) return printJson({ removed: name })
  print(`Removed ${name} with their roles, tokens and sessions; what they did stays in: atelier audit`)
}

function parseGrant(text: string, before: Grant[]): Grant[] {
  const [, app = '', role = ''] = /^([^:]+):(owner|deployer|viewer)$/.exec(text) ?? []
  if (!app) throw new InvalidArgumentError('It must be an app and a role: hello:owner, hello:deployer or hello:viewer.')
  return [...before, { app, role: role as Role }]
}

function parsePlatformRole(text: string): string {
  if (platformRoles.includes(text)) return text
  throw new InvalidArgumentError('It must be admin, member or guest.')
}

function dayOf(time: string): string {
  return `${time.slice(0, 16).replace('T', ' ')} UTC`
}
