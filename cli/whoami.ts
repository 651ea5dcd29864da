import type { Command } from 'commander'
import { connect, withJson } from './context.ts'
import { print, printJson } from './output.ts'

export function register(program: Command): void {
  withJson(program.command('whoami'))
    .description('show which platform commands talk to from here, as whom, and with which token')
    .action(show)
}

async function show({ json }: { json?: true }): Promise<void> {
  const client = await connect()
  const reply = await client.call('GET whoami')
  if (json) return printJson({ api: client.platform.api, ...reply })
  const { person, token, scope, app_id } = reply
  print(client.platform.api)
  print(
    `  person   ${person ? `${person.name}, ${person.platform_role} of the platform` : 'none: the token is nobody’s'}`,
  )
  const roles = Object.entries(person?.roles ?? {}).map(([app, role]) => `${role} of ${app}`)
  if (person) print(`  roles    ${roles.join(', ') || 'on no app'}`)
  const until = token?.expires_at ? `until ${token.expires_at.slice(0, 10)}` : 'does not expire'
  print(`  token    ${token?.name ?? reply.name} (${scope}${app_id ? `, ${app_id} only` : ''}), ${until}`)
}
