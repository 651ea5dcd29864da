import { createReadStream } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Manifest } from '../registry/manifest.ts'
import { type BlobFiles, maxCachedBytes } from './blob-files.ts'
import { type ByteRange, readRange } from './byte-range.ts'
import { decodePath, FileTable } from './file-table.ts'
import { fileUnreadable, methodNotAllowed, pageNotFound, writeNotice } from './pages.ts'
import { type Representation, revalidateControl, type StaticFile } from './static-file.ts'

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

  /** `headers`: flat pairs of every response of the deployment. */
  constructor(
    { files, kind, spa_fallback }: Pick<Manifest, 'files' | 'kind' | 'spa_fallback'>,
    { blobs, headers, onError }: { blobs: BlobFiles; headers: string[]; onError: (thrown: unknown) => void },
  ) {
    this.#table = new FileTable(files, headers)
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
    const shell = this.#spaFallback && isNavigation && !isAsset ? this.#table.file('/index.html') : null
    const page = isNavigation ? this.#table.notFoundPage(path ?? '/') : null
    if (shell) this.#send(call, shell, 200)
    else if (page) this.#send(call, page, 404)
    else writeNotice(call.request, call.response, pageNotFound(), call.headers)
  }

  #send(call: StaticCall, file: StaticFile, status: 200 | 404): void {
    const { request, response } = call
    const { headers } = request
    const asked = status === 200 && headers.range !== undefined ? askedRange(request, file) : null
    const form = asked?.form ?? file.choose(headers['accept-encoding'])
    if (status === 200 && headers['if-match'] !== undefined && !names(headers['if-match'], form.etag)) {
      response.writeHead(412, [...form.notModified, 'content-length', '0'])
      response.end()
      return
    }
    if (status === 200 && headers['if-none-match'] !== undefined && namesWeakly(headers['if-none-match'], form.etag)) {
      response.writeHead(304, form.notModified)
      response.end()
      return
    }
    if (asked?.range === 'unsatisfiable') {
      response.writeHead(416, [...call.headers, 'content-range', `bytes */${form.size}`, 'content-length', '0'])
      response.end()
      return
    }
    const range = asked?.range ?? null
    const whole = file.isPage && call.visitor.length > 0 ? personal(form, call.visitor) : form.head
    const head: Head = range
      ? { status: 206, headers: partHeaders(whole, form.size, range) }
      : { status, headers: whole }
    const bytes = this.#blobs.cached(form.sha256)
    if (request.method === 'HEAD' || form.size === 0) writeWhole(response, head)
    else if (bytes) writeWhole(response, head, cut(bytes, range))
    else void this.#sendFromDisk(call, head, form, range)
  }

  // The head waits for the bytes to be there and right: a blob that cannot be read is an error page, not a page without a body.
  async #sendFromDisk(call: StaticCall, head: Head, form: Representation, range: ByteRange | null): Promise<void> {
    const { response } = call
    try {
      if (form.size <= maxCachedBytes) {
        writeWhole(response, head, cut(await this.#blobs.read(form), range))
        return
      }
      const file = createReadStream(await this.#blobs.path(form), range ?? {})
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

// A range is of the plain file, or of the form that If-Range names; with any other If-Range (a date too: files here have none) it is no range.
function askedRange(
  { headers, method }: IncomingMessage,
  file: StaticFile,
): { form: Representation; range: ByteRange | 'unsatisfiable' } | null {
  if (method !== 'GET') return null
  const condition = headers['if-range']
  const form = condition === undefined ? file.plain : file.byEtag(String(condition))
  const range = form && readRange(headers.range, form.size)
  return range && { form, range }
}

function partHeaders(whole: string[], size: number, { start, end }: ByteRange): string[] {
  const length = whole.indexOf('content-length')
  return [...whole.with(length + 1, String(end - start + 1)), 'content-range', `bytes ${start}-${end}/${size}`]
}

// A page that carries somebody's cookie is nothing for a shared cache.
function personal({ head }: Representation, visitor: string[]): string[] {
  return [...head.with(head.indexOf('cache-control') + 1, 'private, max-age=0, must-revalidate'), ...visitor]
}

// If-Match compares strongly, If-None-Match weakly (RFC 9110 §13.1).
function names(header: string, etag: string): boolean {
  return header === etag || header.split(',').some((tag) => tag.trim() === etag || tag.trim() === '*')
}

function namesWeakly(header: string, etag: string): boolean {
  return names(header, etag) || names(header.replaceAll('W/', ''), etag)
}

function redirect({ response, target, headers }: StaticCall, to: string): void {
  const query = target.indexOf('?')
  const location = query === -1 ? to : to + target.slice(query)
  response.writeHead(308, [...headers, 'location', location, 'cache-control', revalidateControl, 'content-length', '0'])
  response.end()
}
