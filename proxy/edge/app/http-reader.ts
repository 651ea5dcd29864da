import { HeaderNames } from './header-names.ts'

/** The head of a response, read as RFC 9112 has it and no other way. Values are as they came: `readResponseHead` looks at them. */
export type HttpHead = {
  status: number
  reason: string
  pairs: string[]
  /** Whether the connection may carry another request when this response is over. */
  isKeptAlive: boolean
  /** What its Keep-Alive header allows it to be idle, in seconds. */
  idleSec: number | null
}

/**
 * What a reader finds. A response that came with its whole body in one piece is `whole`, every other one `begun`, any number of `data` and
 * `ended`. `interim` responses (1xx but 101) come before. Trailers are names and values by turns.
 */
export interface HttpListener {
  interim(status: number, pairs: string[]): void
  whole(head: HttpHead, body: Buffer, trailers: string[]): void
  begun(head: HttpHead): void
  data(chunk: Buffer): void
  ended(trailers: string[]): void
}

export class MalformedResponse extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MalformedResponse'
  }
}

const maxHeadBytes = 65_536
// Before one response, and together no longer than one head: they go to the client as they come, whether it reads or not.
const maxInterimResponses = 16
const maxChunkLine = 1_024
const statusLine = /^HTTP\/1\.([01]) (\d{3})(?: (.*))?$/s
const field = /^[\t\x20-\x7e\x80-\xff]*$/
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const chunkLine =
  /^([0-9a-f]{1,12})(?:;[!#$%&'*+\-.^_`|~\w]+(?:=(?:[!#$%&'*+\-.^_`|~\w]+|"[\t !#-[\]-~\x80-\xff]*"))?)*$/i
const cares = new HeaderNames((lower, name): 'none' | 'invalid' | 'length' | 'coding' | 'connection' | 'keep-alive' => {
  if (!token.test(name)) return 'invalid'
  if (lower === 'content-length') return 'length'
  if (lower === 'transfer-encoding') return 'coding'
  return lower === 'connection' || lower === 'keep-alive' ? lower : 'none'
})

type State = 'idle' | 'head' | 'counted' | 'until-close' | 'chunk-line' | 'chunk' | 'chunk-end' | 'trailers'

/**
 * Reads the responses on one connection, however they are cut. Strict, for what two readers could read in two ways is where one answer ends
 * and another visitor's begins: every line ends in CRLF, a body has one framing, and bytes that nobody asked for are an error.
 */
export class HttpReader {
  readonly #listener: HttpListener
  #state: State = 'idle'
  #method = ''
  #interim = 0
  #interimBytes = 0
  /** Of a head, a chunk's line or trailers that are not there whole. */
  #held: Buffer | null = null
  /** Bytes of the body, or of the chunk, that are to come. */
  #left = 0
  /** A head that has been read in this piece, and what followed it in the same. */
  #head: HttpHead | null = null
  #collected: Buffer[] = []

  constructor(listener: HttpListener) {
    this.#listener = listener
  }

  /** From now on a response to a request of this method may come. */
  expect(method: string): void {
    this.#method = method
    this.#interim = 0
    this.#interimBytes = 0
    this.#state = 'head'
  }

  /** `bytes` are read before it returns; what the listener gets of them are slices. Throws MalformedResponse; nothing may be pushed after that. */
  push(bytes: Buffer): void {
    let chunk = bytes
    if (this.#held) {
      chunk = Buffer.concat([this.#held, bytes])
      this.#held = null
    }
    for (let at: number | null = 0; at !== null && at < chunk.length; ) at = this.#step(chunk, at)
    this.#announce()
  }

  /** The connection has ended. Throws MalformedResponse when that cuts a response. */
  finish(): void {
    if (this.#state === 'until-close') this.#over([])
    else if (this.#state !== 'idle') throw new MalformedResponse('it was cut')
  }

  // Where to go on; null: the rest is kept until more has come.
  #step(chunk: Buffer, at: number): number | null {
    switch (this.#state) {
      case 'head':
        return this.#readHead(chunk, at)
      case 'counted':
      case 'chunk':
        return this.#readCounted(chunk, at)
      case 'until-close':
        this.#data(chunk.subarray(at))
        return chunk.length
      case 'chunk-line':
        return this.#readChunkLine(chunk, at)
      case 'chunk-end':
        return this.#readChunkEnd(chunk, at)
      case 'trailers':
        return this.#readTrailers(chunk, at)
      default:
        throw new MalformedResponse('it sent more than was asked for')
    }
  }

  #readHead(chunk: Buffer, at: number): number | null {
    const end = chunk.indexOf('\r\n\r\n', at, 'latin1')
    if ((end === -1 ? chunk.length : end) - at > maxHeadBytes) throw new MalformedResponse('its headers are too long')
    if (end === -1) {
      if (!'HTTP/1.'.startsWith(chunk.toString('latin1', at, Math.min(at + 7, chunk.length))))
        throw new MalformedResponse('it is not HTTP')
      return this.#hold(chunk, at)
    }
    this.#interimBytes += end - at
    this.#takeHead(chunk.toString('latin1', at, end).split('\r\n'))
    return end + 4
  }

  #takeHead(lines: string[]): void {
    const [, minor, digits, reason = ''] = statusLine.exec(lines[0] ?? '') ?? []
    if (digits === undefined) throw new MalformedResponse('its status line is none')
    const status = Number(digits)
    const pairs: string[] = []
    let length: number | null = null
    let coding: string | null = null
    let connection = ''
    let idleSec: number | null = null
    for (let index = 1; index < lines.length; index++) {
      const line = lines[index] ?? ''
      const colon = endOfName(line)
      const name = line.slice(0, colon)
      const value = trimmed(line, colon + 1)
      const care = cares.of(name)
      if (care === 'none') {
        pairs.push(name, value)
        continue
      }
      if (care === 'invalid') throw new MalformedResponse('the name of a header holds a character that is not allowed')
      if (care === 'length') length = length === null && /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
      // Node's parser knows no coding with a tab behind it, and reads to the end of the connection.
      else if (care === 'coding') coding = coding === null && !line.endsWith('\t') ? value.toLowerCase() : 'several'
      else if (care === 'connection') connection = connection === '' ? value : `${connection},${value}`
      else if (care === 'keep-alive') idleSec = idleSecIn(value)
      pairs.push(name, value)
    }
    if (Number.isNaN(length)) throw new MalformedResponse('its content-length is no length')
    if (coding !== null && (coding !== 'chunked' || length !== null || minor === '0'))
      throw new MalformedResponse('its body is framed in a way that can be read in two ways')
    const isKeptAlive = keepsAlive(connection, minor === '1')
    if (status < 200) {
      if (!isKeptAlive) throw new MalformedResponse('nothing follows an interim response')
      if (!lines.every((line) => field.test(line))) throw new MalformedResponse('a header holds a control character')
      this.#takeInterim(status, pairs)
      return
    }
    this.#head = { status, reason, pairs, isKeptAlive, idleSec }
    this.#begin(status, coding, length)
  }

  #takeInterim(status: number, pairs: string[]): void {
    if (status === 101) throw new MalformedResponse('it switched protocols unasked')
    if (status < 100) throw new MalformedResponse(`its status is ${String(status).padStart(3, '0')}`)
    if (++this.#interim > maxInterimResponses || this.#interimBytes > maxHeadBytes)
      throw new MalformedResponse('it sends interim responses without end')
    this.#listener.interim(status, pairs)
  }

  // RFC 9112 §6.3.
  #begin(status: number, coding: string | null, length: number | null): void {
    if (this.#method === 'HEAD' || status === 204 || status === 304) this.#over([])
    else if (coding !== null) this.#state = 'chunk-line'
    else if (length === null) {
      this.#state = 'until-close'
      if (this.#head) this.#head.isKeptAlive = false
    } else {
      this.#state = 'counted'
      this.#left = length
      if (length === 0) this.#over([])
    }
  }

  #readCounted(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left)
    this.#left -= end - at
    this.#data(chunk.subarray(at, end))
    if (this.#left > 0) return end
    if (this.#state === 'chunk') this.#state = 'chunk-end'
    else this.#over([])
    return end
  }

  #readChunkLine(chunk: Buffer, at: number): number | null {
    const end = chunk.indexOf('\r\n', at, 'latin1')
    if ((end === -1 ? chunk.length : end) - at > maxChunkLine) throw new MalformedResponse('a chunk has no length')
    if (end === -1) return this.#hold(chunk, at)
    const size = chunkLine.exec(chunk.toString('latin1', at, end))?.[1]
    if (size === undefined) throw new MalformedResponse('a chunk has no length')
    this.#left = Number.parseInt(size, 16)
    this.#state = this.#left === 0 ? 'trailers' : 'chunk'
    return end + 2
  }

  #readChunkEnd(chunk: Buffer, at: number): number | null {
    if (chunk[at] !== 13 || (at + 1 < chunk.length && chunk[at + 1] !== 10))
      throw new MalformedResponse('a chunk has another length than it says')
    if (at + 1 === chunk.length) return this.#hold(chunk, at)
    this.#state = 'chunk-line'
    return at + 2
  }

  #readTrailers(chunk: Buffer, at: number): number | null {
    if (chunk[at] === 13 && chunk[at + 1] === 10) {
      this.#over([])
      return at + 2
    }
    const end = chunk.indexOf('\r\n\r\n', at, 'latin1')
    if ((end === -1 ? chunk.length : end) - at > maxHeadBytes) throw new MalformedResponse('its trailers are too long')
    if (end === -1) return this.#hold(chunk, at)
    const trailers: string[] = []
    for (const line of chunk.toString('latin1', at, end).split('\r\n')) {
      const colon = endOfName(line)
      const name = line.slice(0, colon)
      const value = trimmed(line, colon + 1)
      if (cares.of(name) !== 'none' || !field.test(value)) throw new MalformedResponse('a trailer is none')
      trailers.push(name, value)
    }
    this.#over(trailers)
    return end + 4
  }

  #hold(chunk: Buffer, at: number): null {
    this.#held = Buffer.from(chunk.subarray(at))
    return null
  }

  #data(chunk: Buffer): void {
    if (this.#head) this.#collected.push(chunk)
    else this.#listener.data(chunk)
  }

  // A head whose body has not come whole with it is told, and what did come.
  #announce(): void {
    if (!this.#head) return
    const collected = this.#collected
    this.#listener.begun(this.#head)
    this.#head = null
    this.#collected = []
    for (const chunk of collected) this.#listener.data(chunk)
  }

  #over(trailers: string[]): void {
    this.#state = 'idle'
    const head = this.#head
    if (!head) {
      this.#listener.ended(trailers)
      return
    }
    const [first, ...more] = this.#collected
    this.#head = null
    this.#collected = []
    this.#listener.whole(
      head,
      more.length === 0 && first ? first : Buffer.concat(first ? [first, ...more] : []),
      trailers,
    )
  }
}

function endOfName(line: string): number {
  const colon = line.indexOf(':')
  if (colon < 1) throw new MalformedResponse('a header has no name')
  return colon
}

// Optional white space is blanks and tabs (RFC 9110 §5.6.3); trim() takes more.
function trimmed(line: string, from: number): string {
  let start = from
  let end = line.length
  while (start < end && isBlank(line.charCodeAt(start))) start++
  while (end > start && isBlank(line.charCodeAt(end - 1))) end--
  return line.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9
}

function keepsAlive(connection: string, byDefault: boolean): boolean {
  if (connection === '') return byDefault
  if (connection === 'keep-alive') return true
  const options = connection
    .toLowerCase()
    .split(',')
    .map((option) => option.trim())
  return !options.includes('close') && (byDefault || options.includes('keep-alive'))
}

let lastKeepAlive = ''
let lastIdleSec: number | null = null

// An app says the same each time.
function idleSecIn(value: string): number | null {
  if (value === lastKeepAlive) return lastIdleSec
  const digits = /(?:^|[\s,])timeout=(\d{1,6})/i.exec(value)?.[1]
  lastKeepAlive = value
  lastIdleSec = digits === undefined ? null : Number(digits)
  return lastIdleSec
}
