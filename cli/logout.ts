import type { Command } from 'commander'
import { Client } from './client.ts'
import { withJson } from './context.ts'
import { Failure, usage } from './failure.ts'
import { forgetLogin, readLogins } from './logins.ts'
import { print, printJson } from './output.ts'
import { apiOrigin } from './platform.ts'

type Options = { revoke?: true; json?: true }

export function register(program: Command): void {
  withJson(program.command('logout'))
    .description('forget the token that atelier login has kept, also where git has it for repositories linked here')
    .argument('[address]', 'the platform; default: that of the last login')
    .option('--revoke', 'end the token on the platform, too; for tokens of scope admin')
    .action(logout)
}

async function logout(address: string | undefined, { revoke, json }: Options): Promise<void> {
  const { current, tokens } = readLogins()
  const api = address === undefined ? current : apiOrigin(address)
  const token = api === null ? undefined : tokens[api]
  const others = Object.keys(tokens)
  if (api === null && others.length > 0)
    throw usage(`the last login is forgotten already; say which of the others: ${others.join(', ')}`)
  if (api === null || token === undefined)
    throw new Failure(`you are not signed in${api ? ` to ${api}` : ''}; sign in with: atelier login <address>`, {
      code: 'NOT_SIGNED_IN',
    })
  // First: what is forgotten here cannot be ended from here any more.
  if (revoke) await end(new Client({ api, token }))
  forgetLogin(api)
  if (json) return printJson({ api, revoked: revoke ?? false })
  print(`Signed out of ${api}: its token is forgotten here`)
  print(
    revoke
      ? 'It is ended there, too'
      : 'The token itself stays good; end it on the platform with: atelier tokens rm <id>',
  )
}

async function end(client: Client): Promise<void> {
  const { token } = await client.call('GET whoami')
  if (token) await client.call('DELETE tokens/{id}', { params: { id: token.id } })
}
