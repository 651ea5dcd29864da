import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'

export type Fault =
  | { kind: 'down' }
  | { kind: 'silent' }
  | { kind: 'late'; ms: number }
  | { kind: 'status'; status: number }
  /** Bodies end after `at` bytes, with the connection. */
  | { kind: 'cut'; at: number }
  /** A byte in the middle of bodies is another one. */
  | { kind: 'flip' }

export type Seen = { method: string; path: string }
type Plan = { fault: Fault; of: (seen: Seen) => boolean; left: number }

/** An HTTP proxy in front of a real service, which does to it what networks and services do. It writes down what was asked for. */
export class FaultProxy {
  readonly endpoint: string
  readonly seen: Seen[] = []
  readonly #server: Server
  readonly #target: URL
  readonly #sockets = new Set<Socket>()
  #plan: Plan | null = null

  static async open(target: string): Promise<FaultProxy> {
    const server = createServer({ keepAliveTimeout: 60_000 })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    return new FaultProxy(server, typeof address === 'object' && address ? address.port : 0, target)
  }

  private constructor(server: Server, port: number, target: string) {
    this.endpoint = `http://127.0.0.1:${port}`
    this.#server = server
    this.#target = new URL(target)
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    server.on('request', (incoming, answer) => void this.#take(incoming, answer))
  }

  /** From now on, for requests that match, `times` of them (default: all). */
  inject(
    fault: Fault,
    { of = () => true, times = Number.POSITIVE_INFINITY }: Partial<{ of: Plan['of']; times: number }> = {},
  ) {
    this.#plan = { fault, of, left: times }
    this.seen.length = 0
    if (fault.kind === 'down') for (const socket of this.#sockets) socket.destroy()
  }

  heal(): void {
    this.#plan = null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #take(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const seen = { method: incoming.method ?? '', path: incoming.url ?? '' }
    this.seen.push(seen)
    const plan = this.#plan
    const fault = plan && plan.left > 0 && plan.of(seen) ? plan.fault : null
    if (plan && fault) plan.left -= 1
    if (fault?.kind === 'down') return void incoming.socket.destroy()
    if (fault?.kind === 'silent') return void incoming.resume()
    if (fault?.kind === 'status') {
      await text(incoming).catch(() => '')
      return void answer.writeHead(fault.status).end()
    }
    if (fault?.kind === 'late') await new Promise((resolve) => setTimeout(resolve, fault.ms))
    this.#forward(incoming, answer, fault)
  }

  #forward(incoming: IncomingMessage, answer: ServerResponse, fault: Fault | null): void {
    const { hostname, port } = this.#target
    const upstream = request(
      { hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers, agent: false },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers)
        const size = Number(response.headers['content-length'] ?? 0)
        let sent = 0
        response.on('data', (chunk: Buffer) => {
          const bytes = Buffer.from(chunk)
          const middle = Math.floor(size / 2) - sent
          if (fault?.kind === 'flip' && middle >= 0 && middle < bytes.length) bytes[middle] = (bytes[middle] ?? 0) ^ 1
          const rest = fault?.kind === 'cut' ? Math.max(0, fault.at - sent) : bytes.length
          sent += bytes.length
          if (rest >= bytes.length) return void answer.write(bytes)
          answer.write(bytes.subarray(0, rest), () => incoming.socket.destroy())
        })
        response.once('end', () => answer.end())
        response.once('error', () => answer.destroy())
      },
    )
    upstream.once('error', () => answer.destroy())
    incoming.pipe(upstream)
  }
}
