import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CacheWord } from '../app/app-answer.ts'
import { codedHeaders, compressWell, mayCompress, storedCodingFor, varyOfCoded } from '../app/compression.ts'
import type { Coding } from '../app/content-encoding.ts'
import { maxReadyBytes, ReadyResponse } from '../app/ready-response.ts'
import { headerIn, type ResponseHead } from '../app/response-head.ts'
import { readRange } from '../static/byte-range.ts'
import { forClients } from './cache-control.ts'
import type { Terms } from './cache-policy.ts'

/** What an app answered, whole, for everybody. `headers` are flat pairs. */
export type WholeAnswer = { head: ResponseHead; terms: Terms; body: Buffer; at: number }

/**
 * One form in which it is sent. The last two pairs are Age and x-atelier-cache, written anew for each client. `ready` is a fresh one of the
 * age `readyAge` in one piece, from the third such use within a second on.
 */
type Form = { headers: string[]; body: Buffer; ready: ReadyResponse | null; readyAge: number }

// For the objects around an entry.
const overheadBytes = 1_000
const maxCompressing = 2

let compressing = 0

/** An answer in the cache, in the forms that clients take: as it is, and compressed by whoever asks for that first. Times as performance.now(). */
export class CachedAnswer {
  readonly head: ResponseHead
  readonly terms: Terms
  readonly body: Buffer
  readonly etag: string | undefined
  readonly lastModified: string | undefined
  readonly freshUntil: number
  /** Until then it may be served while a new one is fetched. */
  readonly staleUntil: number
  /** Until then it may be served when the app fails. */
  readonly errorUntil: number
  readonly #bornAt: number
  readonly #plain: Form
  readonly #coded = new Map<Coding, Form>()
  readonly #mayCompress: boolean
  readonly #lastModifiedMs: number
  /** Of every client's response. */
  readonly #headers: string[]
  /** Bytes it takes, as near as that can be told. */
  bytes: number
  /** Told of bytes that are added later. */
  onGrowth: ((bytes: number) => void) | null = null

  /** `headers` go with every response of the deployment. */
  constructor({ head, terms, body, at }: WholeAnswer, headers: string[]) {
    this.head = { ...head, headers: head.headers.map(owned) }
    this.terms = { ...terms, tags: terms.tags.map(owned) }
    this.body = body
    this.#headers = headers
    this.etag = headerIn(this.head.headers, 'etag')
    this.lastModified = headerIn(this.head.headers, 'last-modified')
    this.#lastModifiedMs = this.lastModified === undefined ? Number.NaN : Date.parse(this.lastModified)
    this.#bornAt = at - terms.ageMs
    this.freshUntil = this.#bornAt + terms.lifetime.freshMs
    this.staleUntil = this.freshUntil + terms.lifetime.staleWhileRevalidateMs
    this.errorUntil = this.freshUntil + Math.max(terms.lifetime.staleIfErrorMs, terms.lifetime.staleWhileRevalidateMs)
    // A Date of now, beside the Age: written by the edge, so that it has the one form that can be written over.
    const own = [
      ...without(clientHeaders(this.head.headers), 'content-length', 'age', 'date'),
      'content-length',
      String(body.length),
    ]
    this.#mayCompress = mayCompress(own)
    const sent = this.#mayCompress ? [...without(own, 'vary'), 'vary', varyOfCoded(own)] : own
    this.#plain = { headers: this.#complete(sent), body, ready: null, readyAge: -1 }
    this.bytes = overheadBytes + 2 * this.#plain.headers.join('').length + bytesOf(body)
  }

  /** The same answer after the app has said that it still holds: with its compressed forms, and the headers of the 304 in place of its own. */
  renewed(terms: Terms, headers: string[], at: number): CachedAnswer {
    const renewed = new CachedAnswer({ head: { ...this.head, headers }, terms, body: this.body, at }, this.#headers)
    for (const [coding, { body }] of this.#coded) renewed.#keep(coding, body)
    return renewed
  }

  /** Answers a client from here: the whole, the part it asks for, or that what it has still holds. */
  send(
    { request, response }: { request: IncomingMessage; response: ServerResponse },
    word: CacheWord,
    now: number,
  ): void {
    const { headers: asked } = request
    // RFC 9110 §14.2: a range is of a GET.
    const hasRange = request.method === 'GET' && asked.range !== undefined
    const form = hasRange ? this.#plain : this.#formFor(asked['accept-encoding'])
    const { headers } = form
    const age = Math.max(0, Math.floor((now - this.#bornAt) / 1000))
    headers[headers.length - 3] = String(age)
    headers[headers.length - 1] = word
    const { status, reason } = this.head
    if (status === 200 && this.#holds(asked)) sendNotModified(response, headers)
    else if (status === 200 && hasRange) this.#sendRange(request, response, headers)
    else if (word === 'hit' && request.method === 'GET') sendReady(response, this.head, form, age)
    else {
      response.writeHead(status, reason, headers)
      response.end(form.body)
    }
  }

  // RFC 9110 §13.2.2: a date counts only where no tag is given. Tags are compared weakly, for every form of the body has the same.
  #holds(asked: IncomingMessage['headers']): boolean {
    const tags = asked['if-none-match']
    if (tags !== undefined) return tags.trim() === '*' || (this.etag !== undefined && namesTag(tags, this.etag))
    const since = asked['if-modified-since']
    return since !== undefined && this.#lastModifiedMs <= Date.parse(since)
  }

  #sendRange(request: IncomingMessage, response: ServerResponse, headers: string[]): void {
    const condition = request.headers['if-range']
    const isMeant = condition === undefined || (condition === this.etag && !condition.startsWith('W/'))
    const range = isMeant ? readRange(request.headers.range, this.body.length) : null
    const { length } = this.body
    if (range === null) {
      response.writeHead(200, this.head.reason, headers)
      response.end(this.body)
    } else if (range === 'unsatisfiable') {
      response.writeHead(416, [
        ...without(headers, 'content-length'),
        'content-range',
        `bytes */${length}`,
        'content-length',
        '0',
      ])
      response.end()
    } else {
      const { start, end } = range
      const part = ['content-range', `bytes ${start}-${end}/${length}`, 'content-length', String(end - start + 1)]
      response.writeHead(206, [...without(headers, 'content-length'), ...part])
      response.end(this.body.subarray(start, end + 1))
    }
  }

  // Until a compressed form is made, whoever asks for it gets the plain one.
  #formFor(accepted: string | undefined): Form {
    if (accepted === undefined || !this.#mayCompress) return this.#plain
    const coding = storedCodingFor(accepted)
    const form = coding === null ? this.#plain : this.#coded.get(coding)
    if (form) return form
    // One that could not be made is tried again by the next who asks.
    if (coding !== null && compressing < maxCompressing) this.#compress(coding).catch(() => this.#coded.delete(coding))
    return this.#plain
  }

  async #compress(coding: Coding): Promise<void> {
    compressing++
    // Kept at once, so that it is made once.
    this.#coded.set(coding, this.#plain)
    try {
      const coded = await compressWell(coding, this.body)
      if (coded.length >= this.body.length) return
      this.#keep(coding, coded)
      this.onGrowth?.(bytesOf(coded))
    } finally {
      compressing--
    }
  }

  #keep(coding: Coding, body: Buffer): void {
    if (body === this.body) this.#coded.set(coding, this.#plain)
    else {
      this.bytes += bytesOf(body)
      const own = this.#plain.headers.slice(0, -4 - this.#headers.length)
      this.#coded.set(coding, {
        headers: this.#complete(codedHeaders(own, coding, body.length)),
        body,
        ready: null,
        readyAge: -1,
      })
    }
  }

  #complete(headers: string[]): string[] {
    return [...headers, ...this.#headers, 'age', '0', 'x-atelier-cache', 'hit']
  }
}

// What is sent often is kept in one piece, too.
function bytesOf({ length }: Buffer): number {
  return length > maxReadyBytes ? length : 2 * length
}

function sendReady(response: ServerResponse, { status, reason }: ResponseHead, form: Form, age: number): void {
  const isSame = form.readyAge === age
  if (isSame && form.ready?.send(response)) return
  response.writeHead(status, reason, form.headers)
  form.ready = isSame ? (form.ready ?? ReadyResponse.of(response, form.body)) : null
  form.readyAge = age
  response.end(form.body)
}

// A string taken out of a longer one keeps all of that in memory.
function owned(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

/** The headers of an answer that may be kept for everybody, as clients get them. */
export function clientHeaders(headers: string[]): string[] {
  const control = headerIn(headers, 'cache-control')
  return control === undefined ? headers : [...without(headers, 'cache-control'), 'cache-control', forClients(control)]
}

function without(headers: string[], ...names: string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? ''
    if (!names.includes(name.toLowerCase())) kept.push(name, headers[index + 1] ?? '')
  }
  return kept
}

const ofNotModified = /^(?:content-(?!location)|transfer-encoding|accept-ranges)/i

function sendNotModified(response: ServerResponse, headers: string[]): void {
  const kept: string[] = []
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? ''
    if (!ofNotModified.test(name)) kept.push(name, headers[index + 1] ?? '')
  }
  response.writeHead(304, kept)
  response.end()
}

function namesTag(header: string, etag: string): boolean {
  const opaque = etag.replace(/^W\//, '')
  return header === etag || header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === opaque)
}
