import { AppError } from './errors.ts'
import type { RepoHost } from './repo-links.ts'

const part = '[A-Za-z0-9_][A-Za-z0-9._-]{0,99}'
const pathOf = new RegExp(`^((?:/${part}){0,3}?)/(${part})/(${part}?)(?:\\.git)?/?$`)

/**
 * Where a repository is fetched from and where its host's API is, from the address people copy: `https://github.com/octo/hello`, with or without
 * `.git`. `api`: where the API is not where it usually is. Throws REQUEST_INVALID.
 */
export function readRepoUrl(
  host: RepoHost,
  text: string,
  api: string | null = null,
): { url: string; apiUrl: string; fullName: string } {
  const url = readWebUrl(text, 'the address of the repository')
  const [, below = '', owner = '', name = ''] = pathOf.exec(url.pathname) ?? []
  if (!owner || !name || name === '.git' || url.search || url.hash)
    throw new AppError('REQUEST_INVALID', 'the address of the repository must look like https://github.com/octo/hello')
  const base = `${url.origin}${below}`
  const apiUrl =
    api === null ? usualApi(host, url, base) : readWebUrl(api, 'the address of the API').href.replace(/\/+$/, '')
  return { url: `${base}/${owner}/${name}.git`, apiUrl, fullName: `${owner}/${name}` }
}

function usualApi(host: RepoHost, url: URL, base: string): string {
  if (host === 'gitea') return `${base}/api/v1`
  return url.hostname === 'github.com' ? 'https://api.github.com' : `${url.origin}/api/v3`
}

function readWebUrl(text: string, what: string): URL {
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol))
    throw new AppError('REQUEST_INVALID', `${what} must begin with https:// (or http:// inside your own network)`)
  if (url.username || url.password)
    throw new AppError('REQUEST_INVALID', `${what} may hold no user name or password; give the token by itself`)
  return url
}
