import { createReadStream } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Manifest } from '../registry/manifest.ts'
import { type BlobFiles, maxCachedBytes } from './blob-files.ts'
import { type ByteRange, readRange } from './byte-range.ts'
import { acceptedEncodings } from './content-encoding.ts'
import { decodePath, FileTable, type Representation, revalidateControl, type StaticFile } from './file-table.ts'
import { fileUnreadable, methodNotAllowed, pageNotFound, writeNotice } from './pages.ts'

/**
 * A request that may be for a file. `headers` are flat pairs that go with every response, `visitor` those that go with a page while
 * a rollout splits its visitors.
 */
export type StaticCall = {
  request: IncomingMessage
  response: ServerResponse
  target: string
  headers: string[]
  visitor: string[]
}

const fileExtension = /\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,10}$/i
const assetPath = /^\/(assets|static|_next|_astro|_nuxt|_app)\//

/** The static files of one deployment: looked up first for every kind of app. */
export class StaticFiles {
  readonly #table: FileTable
  readonly #blobs: BlobFiles
  readonly #isWhole: boolean
  readonly #spaFallback: boolean
  readonly #onError: (thrown: unknown) => void

  constructor(
    { files, kind, spa_fallback }: Pick<Manifest, 'files' | 'kind' | 'spa_fallback'>,
    { blobs, onError }: { blobs: BlobFiles; onError: (thrown: unknown) => void },
  ) {
    this.#table = new FileTable(files)
    this.#blobs = blobs
    this.#isWhole = kind === 'static'
    this.#spaFallback = spa_fallback
    this.#onError = onError
  }

  /** True when the response has been begun. A static app answers everything; for other kinds false means: ask the app. */
  serve(call: StaticCall): boolean {
    const { method } = call.request
    if (method !== 'GET' && method !== 'HEAD') {
      if (this.#isWhole)
        writeNotice(call.request, call.response, methodNotAllowed(), [...call.headers, 'allow', 'GET, HEAD'])
      return this.#isWhole
    }
    const path = decodePath(call.target)
    const found = path === null ? null : this.#table.find(path)
    if (found && 'file' in found) {
      this.#send(call, found.file, 200)
      return true
    }
    if (!this.#isWhole) return false
    if (found) redirect(call, found.redirect)
    else this.#serveUnknown(call, path)
    return true
  }

  // A missing asset is never answered with a page: a browser would run HTML as a script (users-expect.md §A.10).
  #serveUnknown(call: StaticCall, path: string | null): void {
    const isNavigation = (call.request.headers.accept ?? '').includes('text/html')
    const isAsset = path === null || fileExtension.test(path) || assetPath.test(path)
    const shell = this.#spaFallback && isNavigation && !isAsset ? this.#table.file('index.html') : null
    const page = isNavigation ? this.#table.file('404.html') : null
    if (shell) this.#send(call, shell, 200)
    else if (page) this.#send(call, page, 404)
    else writeNotice(call.request, call.response, pageNotFound(), call.headers)
  }

  #send(call: StaticCall, file: StaticFile, status: 200 | 404): void {
    const { request, response, headers } = call
    const chosen = choose(request, file)
    const isPage = file.plain.headers[1]?.startsWith('text/html')
    if (status === 200 && matches(request.headers['if-none-match'], chosen.etag)) {
      const vary = file.compressed.length > 0 ? ['vary', 'accept-encoding'] : []
      response.writeHead(304, [...headers, 'etag', chosen.etag, 'cache-control', file.cacheControl, ...vary])
      response.end()
      return
    }
    const range = status === 200 && chosen.encoding === null ? wantedRange(request, chosen) : null
    if (range === 'unsatisfiable') {
      response.writeHead(416, [...headers, 'content-range', `bytes */${chosen.size}`, 'content-length', '0'])
      response.end()
      return
    }
    const head: Head = range
      ? { status: 206, headers: [...headers, ...rangeHeaders(chosen, range)] }
      : {
          status,
          headers: [
            ...headers,
            ...(isPage && call.visitor.length > 0 ? personal(chosen, call.visitor) : chosen.headers),
          ],
        }
    const bytes = this.#blobs.cached(chosen.sha256)
    if (request.method === 'HEAD' || chosen.size === 0) writeWhole(response, head)
    else if (bytes) writeWhole(response, head, cut(bytes, range))
    else void this.#sendFromDisk(call, head, chosen, range)
  }

  // The head waits for the bytes to be there and right: a blob that cannot be read is an error page, not a page without a body.
  async #sendFromDisk(call: StaticCall, head: Head, chosen: Representation, range: ByteRange | null): Promise<void> {
    const { response } = call
    try {
      if (chosen.size <= maxCachedBytes) {
        writeWhole(response, head, cut(await this.#blobs.read(chosen), range))
        return
      }
      const file = createReadStream(await this.#blobs.path(chosen), range ?? {})
      response.writeHead(head.status, head.headers)
      file.on('error', (error) => {
        this.#onError(error)
        response.destroy()
      })
      response.on('close', () => file.destroy())
      file.pipe(response)
    } catch (thrown) {
      this.#onError(thrown)
      writeNotice(call.request, response, fileUnreadable(), call.headers)
    }
  }
}

type Head = { status: number; headers: string[] }

function writeWhole(response: ServerResponse, { status, headers }: Head, body?: Buffer): void {
  response.writeHead(status, headers)
  response.end(body)
}

function cut(bytes: Buffer, range: ByteRange | null): Buffer {
  return range ? bytes.subarray(range.start, range.end + 1) : bytes
}

// A range is of the plain file: ranges of compressed bytes help nobody.
function choose(request: IncomingMessage, file: StaticFile): Representation {
  if (file.compressed.length === 0 || request.headers.range !== undefined) return file.plain
  const accepted = acceptedEncodings(request.headers['accept-encoding'])
  return file.compressed.find(({ encoding }) => encoding !== null && accepted.has(encoding)) ?? file.plain
}

function wantedRange(request: IncomingMessage, { size, etag }: Representation): ByteRange | 'unsatisfiable' | null {
  const condition = request.headers['if-range']
  if (condition !== undefined && condition !== etag) return null
  return readRange(request.headers.range, size)
}

function rangeHeaders({ headers, size }: Representation, { start, end }: ByteRange): string[] {
  const length = headers.indexOf('content-length')
  return [...headers.with(length + 1, String(end - start + 1)), 'content-range', `bytes ${start}-${end}/${size}`]
}

// A page that carries somebody's cookie is nothing for a shared cache.
function personal({ headers }: Representation, visitor: string[]): string[] {
  return [...headers.with(headers.indexOf('cache-control') + 1, 'private, max-age=0, must-revalidate'), ...visitor]
}

// If-None-Match compares weakly (RFC 9110 §13.1.2).
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  if (header === etag || header.trim() === '*') return true
  return header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag)
}

function redirect({ response, target, headers }: StaticCall, to: string): void {
  const query = target.indexOf('?')
  const location = query === -1 ? to : to + target.slice(query)
  response.writeHead(308, [...headers, 'location', location, 'cache-control', revalidateControl, 'content-length', '0'])
  response.end()
}
