import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createProxyServer } from 'httpxy'
import { scriptTag } from './dev-pages.ts'

/** Carries requests to the app on the platform beneath. Pages come back with the script that reloads them, and browsers keep nothing. */
export class AppDoor {
  readonly #app: URL
  /** The address that browsers know. */
  readonly #here: string
  readonly #proxy = createProxyServer({ selfHandleResponse: true })

  constructor(app: string, here: string) {
    this.#app = new URL(app)
    this.#here = here
    this.#proxy.on('proxyRes', (answer, request, response) => this.#return(answer, request, response))
  }

  carry(request: IncomingMessage, response: ServerResponse): void {
    request.headers.host = this.#app.host
    if (wantsPage(request))
      // It is to come whole and as text, for something is added to it.
      for (const name of ['accept-encoding', 'if-none-match', 'if-modified-since', 'range'])
        delete request.headers[name]
    this.#proxy.web(request, response, { target: this.#target }).catch((thrown: unknown) => {
      if (response.headersSent) return response.destroy()
      const reason = thrown instanceof Error ? thrown.message : String(thrown)
      response
        .writeHead(502, { 'content-type': 'text/plain; charset=utf-8' })
        .end(`the app cannot be reached: ${reason}\n`)
    })
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (!(socket instanceof Socket)) return void socket.destroy()
    request.headers.host = this.#app.host
    this.#proxy.ws(request, socket, { target: this.#target }, head).catch(() => socket.destroy())
  }

  // Names below localhost are not known to Node's resolver.
  get #target(): string {
    return `http://127.0.0.1:${this.#app.port}`
  }

  #return(answer: IncomingMessage, request: IncomingMessage, response: ServerResponse): void {
    const { location, ...headers } = answer.headers
    const isPage =
      wantsPage(request) && /^text\/html/i.test(headers['content-type'] ?? '') && !headers['content-encoding']
    if (isPage) delete headers['content-length']
    // Whatever the connection beneath is, this one is Node's own.
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) delete headers[name]
    response.writeHead(answer.statusCode ?? 502, {
      ...headers,
      'cache-control': 'no-store',
      ...(location !== undefined && { location: this.#asHere(location) }),
    })
    answer.on('error', () => response.destroy())
    answer.pipe(response, { end: !isPage })
    // After everything else: browsers read on behind </html>, and nothing of the page has to be understood.
    if (isPage) answer.once('end', () => response.end(scriptTag))
  }

  #asHere(location: string): string {
    return location.startsWith(this.#app.origin) ? this.#here + location.slice(this.#app.origin.length) : location
  }
}

/** Whether a browser asks for something to show. */
export function wantsPage({ method, headers }: IncomingMessage): boolean {
  return method === 'GET' && (headers.accept ?? '').includes('text/html')
}
