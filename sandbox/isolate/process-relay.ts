// Carries connections from the platform's socket to the port the app listens on, byte for byte. Node builtins only.
import net, { type Server, type Socket } from 'node:net'

export type Target = { host: string; port: number }

const collectEveryBytes = 8 * 1_048_576

/**
 * Accepts on a listening descriptor and connects to the app once for each connection. Bytes pass as they come, with back-pressure; the
 * end of one side is an end on the other (half-close stays half-close), a break on either side breaks both.
 */
export class Relay {
  readonly #server: Server
  readonly #clients = new Set<Socket>()
  #target: Target
  #carriedBytes = 0
  #heardBytes = 0

  constructor(listenFd: number, target: Target) {
    this.#target = target
    this.#server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => this.#carry(client))
    this.#server.listen({ fd: listenFd })
  }

  /** What the app has said on all its connections. */
  get heardBytes(): number {
    return this.#heardBytes
  }

  get target(): Target {
    return this.#target
  }

  /** Where connections from now on go. */
  set target(target: Target) {
    this.#target = target
  }

  /** Accepts no more, and resolves when all that an app which has ended had sent is handed on. */
  async close(): Promise<void> {
    this.#server.close()
    await Promise.all([...this.#clients].map(handedOn))
  }

  // A collection of the youngest takes half a millisecond.
  #count(bytes: number, isFromApp: boolean): void {
    if (isFromApp) this.#heardBytes += bytes
    this.#carriedBytes += bytes
    if (this.#carriedBytes < collectEveryBytes) return
    this.#carriedBytes = 0
    globalThis.gc?.({ type: 'minor' })
  }

  #carry(client: Socket): void {
    this.#clients.add(client)
    client.once('close', () => this.#clients.delete(client))
    const app = net.connect({ ...this.#target, allowHalfOpen: true, noDelay: true })
    app.once('connect', () => {
      for (const [from, to] of [
        [client, app],
        [app, client],
      ] as const)
        from.on('data', ({ length }) => this.#count(length, from === app)).pipe(to)
    })
    // Who breaks off a connection must not look like one that has said all it had to say.
    client.once('error', () => app.resetAndDestroy())
    app.once('error', () => client.destroy())
    client.once('close', () => app.writableEnded || app.destroy())
  }
}

function handedOn(client: Socket): Promise<void> {
  return new Promise((done) => {
    if (client.writableFinished || client.destroyed) return done()
    client.once('finish', done).once('close', () => done())
  })
}
