import type { Command } from 'commander'
import { askSecret, readStdin } from './ask.ts'
import { Client } from './client.ts'
import { withJson } from './context.ts'
import { Failure, usage } from './failure.ts'
import { saveLogin } from './logins.ts'
import { print, printJson } from './output.ts'
import { apiOrigin, localPlatform, type Platform } from './platform.ts'

export function register(program: Command): void {
  withJson(program.command('login'))
    .description('sign in to a platform and use it from now on')
    .argument('[address]', 'the platform, as in https://example.com; default: the one running on this machine')
    .option('--token <token>', 'an API token; - reads it from standard input, and without this it is asked for')
    .action(login)
}

async function login(address: string | undefined, { token, json }: { token?: string; json?: true }): Promise<void> {
  const platform = await choosePlatform(address, token)
  const reply = await new Client(platform).call('GET whoami')
  const { name, scope, app_id, person } = reply
  const file = saveLogin(platform.api, platform.token)
  if (json) return printJson({ api: platform.api, name, scope, app_id })
  print(
    `Signed in to ${platform.api} ${person ? `as ${name}, with a token of theirs` : `with the token ${name}`} (${scope}${app_id ? `, ${app_id} only` : ''})`,
  )
  print(`It is kept in ${file}`)
}

async function choosePlatform(address: string | undefined, token: string | undefined): Promise<Platform> {
  const local = localPlatform()
  if (address === undefined) {
    if (!local) throw usage('no platform runs on this machine; say which one: atelier login https://example.com')
    return token === undefined ? local : { api: local.api, token: await readToken(token, local.api) }
  }
  const api = apiOrigin(address)
  if (token === undefined && local?.api === api) return local
  return { api, token: await readToken(token, api) }
}

async function readToken(given: string | undefined, api: string): Promise<string> {
  const token = (given === '-' ? await readStdin() : (given ?? (await askSecret(`Token for ${api}: `)))).trim()
  if (/^atl_[A-Za-z0-9_-]+$/.test(token)) return token
  throw new Failure(
    'that is no API token: they begin with atl_; make one on the platform with: atelier tokens create <name>',
  )
}
