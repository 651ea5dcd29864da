// A standard Request that costs what the handler reads of it. Node builtins only.
import type { Call } from './isolate-channel.ts'
import { recognise, shadow } from './isolate-shadow.ts'

const StandardRequest = globalThis.Request
const standardFetch = globalThis.fetch
type Asked = ConstructorParameters<typeof Request>[0]
const whole = Symbol('the standard Request behind a lazy one')

/**
 * The request of a call; null: there is none, for its URL cannot be read or fetch knows no such method. Method and URL are there at once. The
 * first touch of anything else makes the standard object, and from then on this one is its shadow: same values, same errors, one body.
 * `signal` is asked for at most once.
 */
export function requestOf(call: Call, signal: (call: Call) => AbortSignal): Request | null {
  const url = urlOf(call)
  // https://fetch.spec.whatwg.org/#forbidden-method
  if (url === null || call.method === 'TRACE' || call.method === 'TRACK' || call.method === 'CONNECT') return null
  return new LazyRequest(call, url, signal) as unknown as Request
}

/** Makes `new Request(lazy)`, `fetch(lazy)` and `instanceof Request` do what they do with standard ones. */
export function installLazyRequest(): void {
  class Request extends StandardRequest {
    constructor(input: Asked, init?: RequestInit) {
      super(standardOf(input), init)
    }
  }
  recognise(Request, StandardRequest)
  globalThis.Request = Request
  globalThis.fetch = function fetch(input: Asked, init?: RequestInit) {
    return standardFetch(standardOf(input), init)
  }
}

function standardOf<Input>(input: Input): Input | Request {
  return input instanceof LazyRequest ? input[whole] : input
}

class LazyRequest {
  readonly #call: Call
  readonly #url: string
  readonly #signal: (call: Call) => AbortSignal
  #standard: Request | null = null

  constructor(call: Call, url: string, signal: (call: Call) => AbortSignal) {
    this.#call = call
    this.#url = url
    this.#signal = signal
  }

  get method(): string {
    return this.#call.method
  }

  get url(): string {
    return this.#url
  }

  get [whole](): Request {
    this.#standard ??= standardRequest(this.#call, this.#url, this.#signal(this.#call))
    return this.#standard
  }
}

shadow(LazyRequest.prototype, StandardRequest.prototype, (lazy: LazyRequest) => lazy[whole])

function standardRequest(call: Call, url: string, signal: AbortSignal): Request {
  const headers = new Headers()
  for (let index = 0; index + 1 < call.pairs.length; index += 2)
    headers.append(call.pairs[index] ?? '', call.pairs[index + 1] ?? '')
  const { method } = call
  if (!call.hasBody || method === 'GET' || method === 'HEAD')
    return new StandardRequest(url, { method, headers, signal })
  return new StandardRequest(url, { method, headers, signal, body: bodyOf(call), duplex: 'half' })
}

function bodyOf(call: Call): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const chunk = await call.read()
        if (chunk === null) controller.close()
        // Its buffer is shared with other frames, and whoever gets a chunk may transfer its buffer.
        else controller.enqueue(new Uint8Array(chunk))
      },
    },
    { highWaterMark: 0 },
  )
}

// What the URL parser would leave as it is: https://url.spec.whatwg.org/#path-state. Everything else is given to it.
const plainTarget =
  /^\/(?!\/)(?:[\w~!$&()*+,;=:@/-]|\.(?!\.?(?:[/?]|$))|%(?!2e)[0-9a-f]{2})*(?:\?[\w~!$&()*+,;=:@/?.%-]*)?$/i

function urlOf({ target, pairs }: Call): string | null {
  const origin = originOf(pairs)
  if (origin === null) return null
  if (plainTarget.test(target)) return origin + target
  const path = target.startsWith('/') ? target : `/${target}`
  if (target.startsWith('/') || target === '*') return URL.parse(origin + path)?.href ?? null
  return URL.parse(target)?.href ?? null
}

let lastHost: string | undefined
let lastScheme: string | undefined
let lastOrigin: string | null = null

// The edge is the only client, and it alone says whether the visitor came over https.
function originOf(pairs: string[]): string | null {
  let host = 'localhost'
  let scheme = 'http'
  for (let index = pairs.length - 2; index >= 0; index -= 2) {
    const name = pairs[index]
    if (name === 'host') host = pairs[index + 1] || host
    else if (name === 'x-forwarded-proto') scheme = pairs[index + 1] === 'https' ? 'https' : 'http'
  }
  if (host === lastHost && scheme === lastScheme) return lastOrigin
  lastHost = host
  lastScheme = scheme
  lastOrigin = URL.parse(`${scheme}://${host}/`)?.origin ?? null
  return lastOrigin
}
