import type { TestBundle } from './edge.ts'

/** What an app of `cacheable` is asked to answer, as JSON in the query. `{n}` in the body and headers is how often this address was asked. */
export type Wish = {
  status?: number
  headers?: Record<string, string | string[]>
  body?: string
  /** How often the body is repeated. */
  times?: number
  /** Milliseconds before it answers. */
  delay?: number
  /** From which time on it is asked it answers only when somebody has asked for `/release`. */
  holdFrom?: number
  /** Answers 304 to a request that names its ETag. */
  validates?: boolean
  /** The headers of that 304, where they are others. */
  confirms?: Record<string, string>
  /** Ends the connection after so many bytes of the body. */
  cutAt?: number
  /** Sends the body in pieces of so many bytes, without a length. */
  pieces?: number
  /** Waits so long between pieces. */
  pause?: number
  never?: boolean
  /** Sends early hints with this link before. */
  hint?: string
}

/** A path that asks such an app for that answer. */
export function wish(path: string, wished: Wish): string {
  return `${path}?${encodeURIComponent(JSON.stringify(wished))}`
}

/** An app that answers what the query wishes, and says at `/asked` how often each path was asked, with which headers last, and how many left in mid-answer. */
export function cacheable(mark = ''): TestBundle {
  return {
    kind: 'server',
    server: {
      'index.mjs': `
import { createServer } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
const asked = new Map(), last = new Map()
let failing = false, aborted = 0, held = []
createServer(async (request, response) => {
  const [path, query = ''] = request.url.split('?')
  if (path === '/asked') return response.end(JSON.stringify({ asked: Object.fromEntries(asked), last: Object.fromEntries(last), aborted }))
  if (path === '/exit') process.exit(1)
  if (path === '/release') { for (const answer of held.splice(0)) answer(); return response.end() }
  if (path === '/fail') { failing = query === 'on'; return response.end(String(failing)) }
  response.on('close', () => { if (!response.writableFinished) aborted++ })
  const n = (asked.get(path) ?? 0) + 1
  asked.set(path, n)
  last.set(path, request.headers)
  if (query === '' || query.includes('=')) return response.end('${mark}')
  if (failing) { response.writeHead(500); return response.end('broken') }
  const wish = JSON.parse(decodeURIComponent(query))
  const fill = (text) => text.replaceAll('{n}', String(n)).replaceAll('{mark}', '${mark}')
  const headers = {}
  for (const [name, value] of Object.entries(wish.headers ?? {})) headers[name] = Array.isArray(value) ? value.map(fill) : fill(value)
  if (wish.hint) response.writeEarlyHints({ link: wish.hint })
  if (wish.delay) await pause(wish.delay)
  if (n >= wish.holdFrom) await new Promise((resolve) => held.push(resolve))
  if (wish.validates && request.headers['if-none-match'] === headers.etag) { response.writeHead(304, wish.confirms ?? headers); return response.end() }
  const body = Buffer.from(fill(wish.body ?? '{mark}{n}').repeat(wish.times ?? 1))
  response.writeHead(wish.status ?? 200, wish.pieces || 'content-length' in headers ? headers : { ...headers, 'content-length': body.length })
  if (wish.cutAt !== undefined) { response.write(body.subarray(0, wish.cutAt)); await pause(20); return response.socket.destroy() }
  if (wish.never) { response.write(body); return }
  if (!wish.pieces) return response.end(body)
  for (let at = 0; at < body.length; at += wish.pieces) {
    response.write(body.subarray(at, at + wish.pieces))
    if (wish.pause) await pause(wish.pause)
  }
  response.end()
}).listen(3000)
`,
    },
  }
}
