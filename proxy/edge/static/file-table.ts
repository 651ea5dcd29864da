import type { ManifestFile } from '../../../registry/manifest.ts'
import type { HeaderRules } from './header-rules.ts'
import { StaticFile } from './static-file.ts'

export type Found = { file: StaticFile } | { redirect: string }

const notFoundName = '/404.html'

// `served` is made when the path is first asked for: most of a large site's are not.
type Entry = { file: ManifestFile; served: { file: StaticFile } | null } | { redirect: string }

/**
 * Request paths to files, made once from a manifest's file table. A path that was sent is only ever looked up here: no part of it
 * reaches the file system.
 */
export class FileTable {
  readonly #entries = new Map<string, Entry>()
  readonly #headers: string[]
  readonly #rules: HeaderRules
  /** The length of the longest folder that has a 404.html; -1: there is none. What visitors ask for may have thousands of slashes. */
  readonly #longestNotFound: number

  /** `headers`: flat pairs of every response of the deployment. */
  constructor(files: ManifestFile[], { headers, rules }: { headers: string[]; rules: HeaderRules }) {
    this.#headers = headers
    this.#rules = rules
    const servable = files.filter(({ path }) => !isHidden(path))
    for (const file of servable) this.#entries.set(`/${file.path}`, { file, served: null })
    for (const file of servable) this.#addClean(file)
    for (const file of servable) this.#addRedirect(file)
    const pages = [...this.#entries.keys()].filter((path) => path.endsWith(notFoundName))
    this.#longestNotFound = pages.reduce((most, { length }) => Math.max(most, length - notFoundName.length), -1)
  }

  /** Looks a decoded path up: a file, its clean name (`/about`, `/docs/`), or the slash that its name lacks or has too many. */
  find(path: string): Found | null {
    const entry = this.#entries.get(path)
    if (entry === undefined) return null
    if ('redirect' in entry) return entry
    entry.served ??= { file: this.#serve(entry.file, path) }
    return entry.served
  }

  /** The file at a path, as the answer to a request for another: headers go by what was asked for. */
  fileFor(asked: string, path: string): StaticFile | null {
    const entry = this.#entries.get(path)
    if (entry === undefined) return null
    if ('redirect' in entry) return this.fileFor(asked, otherSlash(path))
    if (!this.#rules.isEmpty) return this.#serve(entry.file, asked)
    entry.served ??= { file: this.#serve(entry.file, path) }
    return entry.served.file
  }

  /** The 404.html of the nearest folder above a path. */
  notFoundPage(path: string): StaticFile | null {
    if (this.#longestNotFound === -1) return null
    let end = path.lastIndexOf('/', this.#longestNotFound)
    for (; end >= 0; end = end === 0 ? -1 : path.lastIndexOf('/', end - 1)) {
      const page = this.fileFor(path, path.slice(0, end) + notFoundName)
      if (page) return page
    }
    return null
  }

  #serve(file: ManifestFile, path: string): StaticFile {
    return new StaticFile(file, { headers: this.#headers, added: this.#rules.for(path) })
  }

  /** `/docs/` for docs/index.html, `/about` for about.html. */
  #addClean(file: ManifestFile): void {
    const clean = cleanPath(file.path)
    if (clean !== null && !this.#entries.has(clean)) this.#entries.set(clean, { file, served: null })
  }

  #addRedirect({ path }: ManifestFile): void {
    const clean = cleanPath(path)
    if (clean === null || clean === '/') return
    const other = otherSlash(clean)
    if (!this.#entries.has(other))
      this.#entries.set(other, { redirect: encodeURI(clean).replace(/[?#]/g, encodeURIComponent) })
  }
}

/** The path of a request target, decoded; null when it cannot name a file: bad escapes, encoded separators, NUL, dot segments. */
export function decodePath(target: string): string | null {
  const end = target.indexOf('?')
  const path = end === -1 ? target : target.slice(0, end)
  if (!path.includes('%')) return path
  if (/%(2f|5c|00|2e)/i.test(path)) return null
  try {
    return decodeURIComponent(path)
  } catch (thrown) {
    if (thrown instanceof URIError) return null
    throw thrown
  }
}

function otherSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : `${path}/`
}

function cleanPath(path: string): string | null {
  if (path === 'index.html') return '/'
  if (path.endsWith('/index.html')) return `/${path.slice(0, -'index.html'.length)}`
  return path.endsWith('.html') ? `/${path.slice(0, -'.html'.length)}` : null
}

/** A bundle's dot files (.env, .git) are never public; /.well-known is made for it. */
export function isHidden(path: string): boolean {
  return path.split('/').some((part, index) => part.startsWith('.') && !(index === 0 && part === '.well-known'))
}
