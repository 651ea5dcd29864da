import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Failure, usage } from './failure.ts'
import { readLogins } from './logins.ts'

/** A platform to talk to: the origin of its API without a trailing slash (`http://api.localhost:8080`), and a token for it. */
export type Platform = { api: string; token: string }

type Env = Record<string, string | undefined>

/**
 * The platform a command talks to, first match of: ATELIER_URL with ATELIER_TOKEN; the known platform the `atelier` git remote belongs to;
 * the last `atelier login`; the platform that runs on this machine under ATELIER_HOME.
 */
export function findPlatform(remoteUrl: string | null, env: Env = process.env): Platform {
  if (env.ATELIER_URL) return platformOfEnv(env.ATELIER_URL, env)

  const known = knownPlatforms(env)
  const ofRemote = remoteUrl && apiOfRemote(remoteUrl)
  const chosen = known.find(({ api }) => api === ofRemote) ?? known[0]
  if (!chosen)
    throw new Failure(
      'no platform is known here; start one with: atelier up, or sign in to one with: atelier login <address>',
      {
        code: 'NO_PLATFORM',
      },
    )
  return env.ATELIER_TOKEN ? { ...chosen, token: env.ATELIER_TOKEN } : chosen
}

/** The platform running under this machine's ATELIER_HOME, as `atelier up` wrote it down; null when there is none or it may not be read. */
export function localPlatform(env: Env = process.env): Platform | null {
  const home = env.ATELIER_HOME || defaultHome(env)
  const written = readJson(join(home, 'atelier.json'))
  const token = readText(join(home, 'admin-token'))?.trim()
  if (typeof written !== 'object' || written === null || !('api' in written) || !token) return null
  return typeof written.api === 'string' ? { api: apiOrigin(written.api), token } : null
}

/**
 * The API's origin, from whatever address of the platform a person has at hand: `https://example.com`, `console.example.com`,
 * `http://api.localhost:8080/api/platform`. Throws a usage failure for what is no address.
 */
export function apiOrigin(address: string): string {
  const url = parseUrl(/^https?:\/\//i.test(address) ? address : `${schemeFor(address)}://${address}`)
  if (!url?.hostname || url.username || url.password)
    throw usage(`${address} is not the address of a platform; give one like https://example.com`)
  const host = /^(\d+\.){3}\d+$|^\[/.test(url.hostname)
    ? url.host
    : `api.${url.host.replace(/^(api|console|git)\./, '')}`
  return `${url.protocol}//${host}`
}

/** The API that belongs to a git remote's URL (`http://git.localhost:8080/hello.git`), or null when it is no platform's. */
export function apiOfRemote(remoteUrl: string): string | null {
  const url = parseUrl(remoteUrl)
  if (!url || !/^https?:$/.test(url.protocol) || !url.hostname.startsWith('git.')) return null
  return `${url.protocol}//api.${url.host.slice('git.'.length)}`
}

function platformOfEnv(address: string, env: Env): Platform {
  const api = apiOrigin(address)
  const token = env.ATELIER_TOKEN || knownPlatforms(env).find((platform) => platform.api === api)?.token
  if (!token)
    throw new Failure(
      `ATELIER_URL is set and there is no token for ${api}; set ATELIER_TOKEN, or run: atelier login ${api}`,
      {
        code: 'NO_TOKEN',
      },
    )
  return { api, token }
}

function knownPlatforms(env: Env): Platform[] {
  const { current, tokens } = readLogins(env)
  const logins = Object.entries(tokens).map(([api, token]) => ({ api, token }))
  const local = localPlatform(env)
  return [...logins.filter(({ api }) => api === current), ...(local ? [local] : []), ...logins]
}

function schemeFor(address: string): string {
  return /^([a-z0-9.-]+\.)?localhost(:\d+)?(\/|$)|^127\.|^\[::1\]/i.test(address) ? 'http' : 'https'
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}

function defaultHome(env: Env): string {
  if (process.getuid?.() === 0) return '/var/lib/atelier'
  return join(env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local/state'), 'atelier')
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readText(path) ?? 'null')
  } catch (error) {
    throw new Failure(
      `${path} is damaged (${error instanceof Error ? error.message : error}); restart the platform: atelier up`,
    )
  }
}

// A file that is missing or not for us to read says the same: this machine's platform is not ours to use.
function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EPERM' || code === 'ENOTDIR') return null
    throw error
  }
}
