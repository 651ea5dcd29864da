import { createReadStream } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { codeOf } from '../../../registry/errors.ts'
import type { Manifest } from '../../../registry/manifest.ts'
import { type BlobFiles, type CachedBlob, maxCachedBytes } from '../../bundles/blob-files.ts'
import { ReadyResponse } from '../app/ready-response.ts'
import { isForEverybody } from '../cache/cache-control.ts'
import { expectEarly } from '../early-answers.ts'
import { fileUnreadable, methodNotAllowed, pageNotFound, serverBusy, writeNotice } from '../pages.ts'
import type { VisitorHeaders } from '../visitors.ts'
import type { ByteRange } from './byte-range.ts'
import { askedRange, names, namesWeakly, partHeaders } from './conditions.ts'
import { decodePath, FileTable } from './file-table.ts'
import { HeaderRules } from './header-rules.ts'
import { RedirectRules } from './redirect-rules.ts'
import type { RetainedAssets } from './retained-assets.ts'
import { type Representation, revalidateControl, type StaticFile, withValue } from './static-file.ts'

/**
 * A request that may be for a file. `headers` are flat pairs that go with every response, `visitor` those that go with a page while
 * a rollout splits its visitors.
 */
export type StaticCall = {
  request: IncomingMessage
  response: ServerResponse
  target: string
  routeId: string
  headers: string[]
  visitor: VisitorHeaders | null
  /** The answer is for this client alone. */
  isPrivate: boolean
}

export type StaticFilesDeps = {
  blobs: BlobFiles
  /** Flat pairs of every response of the deployment. */
  headers: string[]
  /** What other deployments of a route have that this one lacks. */
  retained: Pick<RetainedAssets, 'find'>
  onError: (thrown: unknown) => void
}

const remakeMs = 1_000
const fileExtension = /\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,10}$/i
const assetPath = /^\/(assets|static|_next|_astro|_nuxt|_app)\//

export type ServedManifest = Pick<Manifest, 'files' | 'kind' | 'spa_fallback' | 'header_rules' | 'redirects'>

/** The static files of one deployment: looked up first for every kind of app. */
export class StaticFiles {
  readonly #table: FileTable
  readonly #redirects: RedirectRules
  readonly #blobs: BlobFiles
  readonly #retained: StaticFilesDeps['retained']
  readonly #isWhole: boolean
  readonly #spaFallback: boolean
  readonly #onError: (thrown: unknown) => void

  constructor(
    { files, kind, spa_fallback, header_rules, redirects }: ServedManifest,
    { blobs, headers, retained, onError }: StaticFilesDeps,
  ) {
    this.#table = new FileTable(files, { headers, rules: new HeaderRules(header_rules) })
    this.#redirects = new RedirectRules(redirects)
    this.#blobs = blobs
    this.#retained = retained
    this.#isWhole = kind === 'static'
    this.#spaFallback = spa_fallback
    this.#onError = onError
  }

  /**
   * What answers this GET when it is for a whole file that has been sent in the same way before, and nothing is to be decided; null: `serve` has
   * to look. Never more than `serve` would send.
   */
  ready(request: IncomingMessage, target: string): ReadyResponse | null {
    const { headers } = request
    const isPlain =
      headers.range === undefined && headers['if-match'] === undefined && headers['if-none-match'] === undefined
    const path = isPlain && !this.#redirects.hasForced ? decodePath(target) : null
    const found = path === null ? null : this.#table.find(path)
    if (!found || !('file' in found)) return null
    const form = found.file.choose(headers['accept-encoding'])
    const cached = this.#blobs.cached(form.sha256)
    return cached?.head === form.head ? cached.ready : null
  }

  /**
   * True when the response has been begun. A static app answers everything; for other kinds false means: ask the app, for `call.target`, which a
   * rule of the site may have changed. A promise: serve it again when that resolves.
   */
  serve(call: StaticCall): boolean | Promise<void> {
    const { method } = call.request
    const isRead = method === 'GET' || method === 'HEAD'
    const path = decodePath(call.target)
    if (this.#redirects.hasForced && this.#follow(call, path, { forced: true })) return true
    const found = isRead && path !== null ? this.#table.find(path) : null
    if (found && 'file' in found) {
      this.#send(call, found.file, 200)
      return true
    }
    const kept = isRead && path !== null && !found ? this.#retained.find(call.routeId, path) : null
    if (kept instanceof Promise) return kept
    if (kept) this.#send(call, kept, 200)
    else if (found && this.#isWhole) redirect(call, 308, withQuery(found.redirect, call.target))
    else if (this.#follow(call, path, { forced: false })) return true
    else if (!this.#isWhole) return false
    else if (isRead) this.#serveUnknown(call, path)
    else writeNotice(call.request, call.response, methodNotAllowed(), [...call.headers, 'allow', 'GET, HEAD'])
    return true
  }

  // What the site's _redirects say. True when the response has been begun.
  #follow(call: StaticCall, path: string | null, { forced }: { forced: boolean }): boolean {
    if (this.#redirects.isEmpty || path === null) return false
    const to = this.#redirects.find(path, call.target, { forced })
    if (to === null) return false
    if ('location' in to) {
      redirect(call, to.status, to.location)
      return true
    }
    const isRead = call.request.method === 'GET' || call.request.method === 'HEAD'
    const file = isRead ? this.#table.fileFor(path, to.path) : null
    // `/* /index.html 200` is for pages: a missing script is missing.
    if (file?.isPage && to.isPattern && isAsset(path)) return false
    if (file) this.#send(call, file, to.status)
    else if (!this.#isWhole) call.target = to.target
    return file !== null
  }

  // A missing asset is never answered with a page: a browser would run HTML as a script (users-expect.md §A.10).
  #serveUnknown(call: StaticCall, path: string | null): void {
    const isNavigation = (call.request.headers.accept ?? '').includes('text/html')
    const isPage = isNavigation && path !== null && !isAsset(path)
    const shell = this.#spaFallback && isPage ? this.#table.fileFor(path, '/index.html') : null
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
    const whole = headFor(call, file, form)
    const head: Head = range
      ? { status: 206, headers: partHeaders(whole, form.size, range) }
      : { status, headers: whole }
    const cached = this.#blobs.cached(form.sha256)
    if (request.method === 'HEAD' || form.size === 0) writeWhole(response, head)
    else if (cached && head.status === 200 && whole === form.head) writeReady(response, form.head, cached)
    else if (cached) writeWhole(response, head, cut(cached.bytes, range))
    else void this.#sendFromDisk(call, file, { head, form, range })
  }

  // The head waits for the bytes to be there and right: a blob that cannot be read is an error page, not a page without a body.
  async #sendFromDisk(call: StaticCall, file: StaticFile, { head, form, range }: Chosen): Promise<void> {
    const { response } = call
    try {
      if (form.size <= maxCachedBytes) {
        writeWhole(response, head, cut(await this.#blobs.read(form), range))
        return
      }
      const bytes = createReadStream(await this.#blobs.path(form), range ?? {})
      response.writeHead(head.status, head.headers)
      bytes.on('error', (error) => {
        this.#onError(error)
        response.destroy()
      })
      response.on('close', () => bytes.destroy())
      bytes.pipe(response)
    } catch (thrown) {
      this.#onError(thrown)
      if (response.destroyed) return
      // No descriptor was left: nothing is wrong with the file, and it is there again when somebody has closed one.
      const isCrowded = ['EMFILE', 'ENFILE'].includes(codeOf(thrown) ?? '')
      if (isCrowded) writeNotice(call.request, response, serverBusy(), call.headers)
      // Better large than not at all.
      else if (file.forget(form)) this.#send(call, file, head.status === 404 ? 404 : 200)
      else writeNotice(call.request, response, fileUnreadable(), call.headers)
    }
  }
}

type Head = { status: number; headers: string[] }
type Chosen = { head: Head; form: Representation; range: ByteRange | null }

function writeWhole(response: ServerResponse, { status, headers }: Head, body?: Buffer): void {
  response.writeHead(status, headers)
  response.end(body)
}

// What is sent with the same head a second time is kept in one piece. A blob that is sent with several heads by turns (the same file under
// two paths with rules of their own) is not joined anew each time.
function writeReady(response: ServerResponse, head: string[], cached: CachedBlob): void {
  const { socket } = response
  if (cached.head === head && cached.ready?.send(response)) {
    if (socket) expectEarly(socket)
    return
  }
  response.writeHead(200, head)
  if (cached.head !== head && performance.now() - cached.readyAt > remakeMs) {
    Object.assign(cached, { head, ready: null, readyAt: performance.now() })
  } else if (cached.head === head) cached.ready ??= ReadyResponse.of(response, cached.bytes)
  response.end(cached.bytes)
}

function cut(bytes: Buffer, range: ByteRange | null): Buffer {
  return range ? bytes.subarray(range.start, range.end + 1) : bytes
}

// A page that carries somebody's cookie is nothing for a shared cache; what the site has said is for one carries no cookie.
function headFor({ visitor, isPrivate }: StaticCall, { isPage }: StaticFile, { head }: Representation): string[] {
  const hasCookie = visitor !== null && isPage && !keepsForAll(head)
  if (!hasCookie && !isPrivate) return head
  const personal = withValue(head, 'cache-control', 'private, max-age=0, must-revalidate')
  return hasCookie ? [...personal, ...visitor()] : personal
}

function keepsForAll(head: string[]): boolean {
  return head.some(
    (text, index) => index % 2 === 0 && /cache-control$/i.test(text) && isForEverybody(head[index + 1] ?? ''),
  )
}

function redirect({ response, headers }: StaticCall, status: number, location: string): void {
  const head = [...headers, 'location', location, 'cache-control', revalidateControl, 'content-length', '0']
  response.writeHead(status, head)
  response.end()
}

function withQuery(to: string, target: string): string {
  const query = target.indexOf('?')
  return query === -1 ? to : to + target.slice(query)
}

function isAsset(path: string): boolean {
  return fileExtension.test(path) || assetPath.test(path)
}
