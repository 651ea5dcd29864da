// A standard Response that costs what its maker puts into it. Node builtins only.
import { recognise, shadow } from './isolate-shadow.ts'

const StandardResponse = globalThis.Response
type Body = ConstructorParameters<typeof Response>[0]
const given = Symbol('what was given')
const whole = Symbol('the standard Response behind a light one')

/** What there is to send of a response that was made of text or bytes and touched by nobody since. */
export type Plain = { status: number; reason: string; pairs: string[]; body: string | Uint8Array | null }

/**
 * `new Response(text)` for an answer that is written out and forgotten: what was given is copied, and made a standard Response by the first
 * touch of anything, with the same values and errors. What is not plain (a stream, a form, a strange status or header) is a standard
 * Response from the beginning.
 */
export function installLightResponse(): void {
  globalThis.Response = LightResponse as unknown as typeof Response
}

/** Null: it has been touched, or is no light one. */
export function plainOf(response: Response): Plain | null {
  return given in response ? (response[given] as Plain | null) : null
}

class LightResponse {
  #standard: Response | null = null;
  [given]: Plain | null

  constructor(body?: Body, init?: ResponseInit) {
    this[given] = readPlain(body, init)
    if (!this[given]) this.#standard = new StandardResponse(body, init)
  }

  get status(): number {
    return this[given]?.status ?? this[whole].status
  }

  get ok(): boolean {
    return this.status >= 200 && this.status <= 299
  }

  get [whole](): Response {
    const plain = this[given]
    if (plain) {
      const { body, status, reason, pairs } = plain
      this.#standard = new StandardResponse(body as Body, {
        status,
        statusText: reason,
        headers: entriesOf(pairs),
      })
      this[given] = null
    }
    if (!this.#standard) throw new TypeError('Illegal invocation')
    return this.#standard
  }

  static json(data: unknown, init?: ResponseInit): Response {
    const text = init?.headers === undefined ? JSON.stringify(data) : undefined
    if (text === undefined) return StandardResponse.json(data, init)
    return new LightResponse(text, { ...init, headers: { 'content-type': 'application/json' } }) as unknown as Response
  }
}
shadow(LightResponse.prototype, StandardResponse.prototype, (light: LightResponse) => light[whole])
recognise(LightResponse, StandardResponse)
Object.setPrototypeOf(LightResponse, StandardResponse)
Object.defineProperty(LightResponse, 'name', { value: 'Response' })

const token = /^[!#$%&'*+\-.^_`|~\w]+$/
// Without the spaces around it that the standard takes away.
const trimmed = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/
const bodyless = (status: number) => status === 204 || status === 205 || status === 304

function readPlain(body: Body, init: ResponseInit | undefined): Plain | null {
  const isText = typeof body === 'string'
  const isBytes = body instanceof Uint8Array
  if (!isText && !isBytes && body !== null && body !== undefined) return null
  const { status = 200, statusText = '', headers } = init ?? {}
  if (!Number.isInteger(status) || status < 200 || status > 599) return null
  if (typeof statusText !== 'string' || !trimmed.test(statusText)) return null
  if (bodyless(status) && (isText || isBytes)) return null
  const pairs = readPairs(headers)
  if (!pairs) return null
  if (isText && !hasType(pairs)) pairs.push('content-type', 'text/plain;charset=UTF-8')
  return { status, reason: statusText, pairs, body: isBytes ? body.slice() : (body ?? null) }
}

function readPairs(headers: ResponseInit['headers'] | undefined): string[] | null {
  if (headers === undefined) return []
  const pairs: string[] = []
  if (headers instanceof Headers) {
    for (const [name, value] of headers) pairs.push(name, value)
    return pairs
  }
  if (typeof headers !== 'object' || headers === null || Symbol.iterator in headers) return null
  for (const name of Object.keys(headers)) {
    const value: unknown = Reflect.get(headers, name)
    const lower = name.toLowerCase()
    if (typeof value !== 'string' || !token.test(name) || !trimmed.test(value) || pairs.includes(lower)) return null
    pairs.push(lower, value)
  }
  return pairs
}

function hasType(pairs: string[]): boolean {
  for (let index = 0; index < pairs.length; index += 2) if (pairs[index] === 'content-type') return true
  return false
}

function entriesOf(pairs: string[]): [string, string][] {
  const entries: [string, string][] = []
  for (let index = 0; index < pairs.length; index += 2) entries.push([pairs[index] ?? '', pairs[index + 1] ?? ''])
  return entries
}
