import type { ManifestFile } from '../registry/manifest.ts'
import type { Blob } from './blob-files.ts'
import { isHashedName } from './hashed-names.ts'

/** One stored form of a file: as it is (`encoding` null), or compressed. `headers` are flat pairs, complete for a 200. */
export type Representation = Blob & { encoding: string | null; etag: string; headers: string[] }

/** A file as it is served. `compressed` is ordered by size, the smallest first. */
export type StaticFile = { plain: Representation; compressed: Representation[]; cacheControl: string }

export type Found = { file: StaticFile } | { redirect: string }

const foreverControl = 'public, max-age=31536000, immutable'
export const revalidateControl = 'public, max-age=0, must-revalidate'

/**
 * Request paths to files, made once from a manifest's file table. A path that was sent is only ever looked up here: no part of it
 * reaches the file system.
 */
export class FileTable {
  readonly #paths = new Map<string, Found>()
  readonly #files = new Map<string, StaticFile>()

  constructor(files: ManifestFile[]) {
    const servable = files.filter(({ path }) => !isHidden(path))
    for (const file of servable) this.#files.set(file.path, toStaticFile(file))
    for (const [path, file] of this.#files) this.#paths.set(`/${path}`, { file })
    for (const [path, file] of this.#files) this.#addClean(path, file)
    for (const path of this.#files.keys()) this.#addRedirect(path)
  }

  /** Looks a decoded path up: a file, its clean name (`/about`, `/docs/`), or the slash that its name lacks or has too many. */
  find(path: string): Found | null {
    return this.#paths.get(path) ?? null
  }

  /** A file by its path in the bundle. */
  file(path: string): StaticFile | null {
    return this.#files.get(path) ?? null
  }

  /** `/docs/` for docs/index.html, `/about` for about.html. */
  #addClean(path: string, file: StaticFile): void {
    const clean = cleanPath(path)
    if (clean !== null && !this.#paths.has(clean)) this.#paths.set(clean, { file })
  }

  #addRedirect(path: string): void {
    const clean = cleanPath(path)
    if (clean === null || clean === '/') return
    const other = clean.endsWith('/') ? clean.slice(0, -1) : `${clean}/`
    if (!this.#paths.has(other))
      this.#paths.set(other, { redirect: encodeURI(clean).replace(/[?#]/g, encodeURIComponent) })
  }
}

/** The path of a request target, decoded; null when it cannot name a file: bad escapes, encoded separators, control characters, dot segments. */
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

function cleanPath(path: string): string | null {
  if (path === 'index.html') return '/'
  if (path.endsWith('/index.html')) return `/${path.slice(0, -'index.html'.length)}`
  return path.endsWith('.html') ? `/${path.slice(0, -'.html'.length)}` : null
}

// A bundle's dot files (.env, .git) are never public; /.well-known is made for it.
function isHidden(path: string): boolean {
  return path.split('/').some((part, index) => part.startsWith('.') && !(index === 0 && part === '.well-known'))
}

function toStaticFile(file: ManifestFile): StaticFile {
  const cacheControl = isHashedName(file.path) ? foreverControl : revalidateControl
  const isNegotiated = file.encodings.length > 0
  const represent = (blob: Blob, encoding: string | null): Representation => {
    const etag = `"${blob.sha256}"`
    const headers = [
      ['content-type', file.content_type],
      ['content-length', String(blob.size)],
      ['etag', etag],
      ['cache-control', cacheControl],
      ...(encoding === null ? [['accept-ranges', 'bytes']] : [['content-encoding', encoding]]),
      ...(isNegotiated ? [['vary', 'accept-encoding']] : []),
    ]
    return { sha256: blob.sha256, size: blob.size, encoding, etag, headers: headers.flat() }
  }
  const smallestFirst = file.encodings.toSorted((a, b) => a.size - b.size)
  return {
    plain: represent(file, null),
    compressed: smallestFirst.map((blob) => represent(blob, blob.encoding)),
    cacheControl,
  }
}
