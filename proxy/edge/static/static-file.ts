import type { ManifestFile } from '../../../registry/manifest.ts'
import type { Blob } from '../../bundles/blob-files.ts'
import { type Coding, wantedEncodings } from '../app/content-encoding.ts'
import { isHashedName } from './hashed-names.ts'
import { type AddedHeaders, withAdded } from './header-rules.ts'

/**
 * One stored form of a file: as it is (`encoding` null), or compressed. `head` and `notModified` are flat pairs, complete for a 200 and a
 * 304: what can be known before a request comes is not put together for each.
 */
export type Representation = Blob & { encoding: Coding | null; etag: string; head: string[]; notModified: string[] }

const foreverControl = 'public, max-age=31536000, immutable'
export const revalidateControl = 'public, max-age=0, must-revalidate'

/** A file of a deployment as it is served under one path. */
export class StaticFile {
  readonly plain: Representation
  /** The smallest first. */
  compressed: Representation[]
  readonly isPage: boolean
  #lastAccepted: string | undefined
  #lastChosen: Representation

  /** `headers`: flat pairs of every response of the deployment; `added`: what the site's rules add under this path. */
  constructor(file: ManifestFile, { headers, added }: { headers: string[]; added: AddedHeaders }) {
    const represent = (blob: Blob, encoding: Coding | null) => describe(file, { blob, encoding, headers, added })
    this.plain = represent(file, null)
    this.compressed = file.encodings.toSorted((a, b) => a.size - b.size).map((blob) => represent(blob, blob.encoding))
    this.isPage = file.content_type.startsWith('text/html')
    this.#lastChosen = this.#choose(undefined)
  }

  /**
   * The form that the client wants most, of several the smallest. When it refuses every one there is, the plain file: RFC 9110 §12.4.1 leaves
   * the choice between that and a 406, which helps nobody. Clients mostly send what the one before sent, so the last choice is kept.
   */
  choose(acceptEncoding: string | undefined): Representation {
    if (acceptEncoding !== this.#lastAccepted) {
      this.#lastAccepted = acceptEncoding
      this.#lastChosen = this.#choose(acceptEncoding)
    }
    return this.#lastChosen
  }

  /** The form that an If-Range names: what a client has a part of, it may have the rest of. Null: none, or not by a strong ETag. */
  byEtag(etag: string): Representation | null {
    return [this.plain, ...this.compressed].find((form) => form.etag === etag) ?? null
  }

  /** A compressed form whose bytes are not to be had is no longer chosen. False: it is the plain file. */
  forget(form: Representation): boolean {
    if (form.encoding === null) return false
    this.compressed = this.compressed.filter((other) => other !== form)
    this.#lastAccepted = undefined
    this.#lastChosen = this.#choose(undefined)
    return true
  }

  #choose(acceptEncoding: string | undefined): Representation {
    if (this.compressed.length === 0) return this.plain
    const wanted = wantedEncodings(acceptEncoding)
    let chosen = this.plain
    let quality = 0
    for (const form of this.compressed) {
      const asked = form.encoding === null ? 0 : wanted[form.encoding]
      if (asked > quality) [chosen, quality] = [form, asked]
    }
    return wanted.identity > quality ? this.plain : chosen
  }
}

type Form = { blob: Blob; encoding: Coding | null; headers: string[]; added: AddedHeaders }

function describe(file: ManifestFile, { blob: { sha256, size }, encoding, headers, added }: Form): Representation {
  const etag = `"${sha256}"`
  const own: [string, string][] = [
    ['content-type', file.content_type],
    ['content-length', String(size)],
    ...((encoding === null ? [] : [['content-encoding', encoding]]) as [string, string][]),
    ['accept-ranges', 'bytes'],
    ['etag', etag],
    ['cache-control', isHashedName(file.path) ? foreverControl : revalidateControl],
    ...((file.encodings.length > 0 ? [['vary', 'accept-encoding']] : []) as [string, string][]),
  ]
  const head = [...headers, ...withAdded(own, added)]
  return { ...{ sha256, size, encoding, etag, head }, notModified: without(head, aboutTheBody) }
}

/** The headers with another value for one of them, which is looked for by its name: a site may have given another header that name as value. */
export function withValue(headers: string[], name: string, value: string): string[] {
  const at = headers.findIndex((text, index) => index % 2 === 0 && text === name)
  return at === -1 ? [...headers, name, value] : headers.with(at + 1, value)
}

// What a client that has the body knows already.
const aboutTheBody = new Set(['content-type', 'content-length', 'content-encoding', 'accept-ranges'])

function without(headers: string[], names: Set<string>): string[] {
  return headers.filter((_, index) => !names.has(headers[index - (index % 2)] ?? ''))
}
