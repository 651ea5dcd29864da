import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { Failure } from './failure.ts'

/** Tokens by the API's origin, and the one the last `atelier login` was for. */
export type Logins = { current: string | null; tokens: Record<string, string> }

type Env = Record<string, string | undefined>

/** The folder of the command's own files: `~/.config/atelier`. */
export function configFolder(env: Env = process.env): string {
  return join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config'), 'atelier')
}

/** What `atelier login` has saved; empty when nothing was. */
export function readLogins(env: Env = process.env): Logins {
  const path = join(configFolder(env), 'config.json')
  try {
    return parseLogins(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { current: null, tokens: {} }
    const reason = error instanceof Error ? error.message : String(error)
    throw new Failure(`${path} cannot be used (${reason}); mend or delete it, then run: atelier login`)
  }
}

/** Remembers the token for `api` and makes it the current platform. */
export function saveLogin(api: string, token: string, env: Env = process.env): string {
  const { tokens } = readLogins(env)
  return writePrivately(join(configFolder(env), 'config.json'), {
    current: api,
    tokens: { ...tokens, [api]: token },
  })
}

/** Forgets the token for `api`, also where git has it for linked repositories. False: there was none. */
export function forgetLogin(api: string, env: Env = process.env): boolean {
  const { current, tokens } = readLogins(env)
  const { [api]: forgotten, ...left } = tokens
  if (forgotten !== undefined)
    writePrivately(join(configFolder(env), 'config.json'), { current: current === api ? null : current, tokens: left })
  const gitHost = new URL(api).host.replace(/^api\./, 'git.').replace(':', '_')
  rmSync(join(configFolder(env), 'git', gitHost), { recursive: true, force: true })
  return forgotten !== undefined
}

// Temp file and rename: a reader never sees half a file, and nobody sees it with wider permissions first.
function writePrivately(path: string, content: unknown): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 })
  chmodSync(temporary, 0o600)
  renameSync(temporary, path)
  return path
}

function parseLogins(content: unknown): Logins {
  if (typeof content !== 'object' || content === null) throw new Error('it holds no JSON object')
  const tokens = 'tokens' in content && typeof content.tokens === 'object' ? (content.tokens ?? {}) : {}
  return {
    current: 'current' in content && typeof content.current === 'string' ? content.current : null,
    tokens: Object.fromEntries(Object.entries(tokens).filter(([, token]) => typeof token === 'string')),
  }
}
