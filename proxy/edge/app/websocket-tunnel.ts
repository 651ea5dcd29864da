import type { Duplex } from 'node:stream'
import { closeFrame, FrameWalker } from './websocket-frames.ts'

/** How long the two sides have to say goodbye. */
export const goodbyeMs = 1_000
// RFC 6455 §7.4 and its registry: "service restart"; a client connects again.
const serviceRestart = 1012

/**
 * An open WebSocket, whose bytes somebody else carries, so that both of its sides can be told when it has to end: between two frames, for a
 * close frame in the middle of another would be taken for a part of it.
 */
export class WebSocketTunnel {
  readonly #client: Duplex
  readonly #app: Duplex
  readonly #directions: Direction[]
  #isEnding = false

  constructor(client: Duplex, app: Duplex) {
    this.#client = client
    this.#app = app
    this.#directions = [new Direction(app, client, { isMasked: false }), new Direction(client, app, { isMasked: true })]
  }

  /** Tells both sides that the service restarts, and ends it. */
  restart(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    for (const direction of this.#directions) direction.end(serviceRestart, 'the app is restarted')
    const timer = setTimeout(() => {
      this.#client.destroy()
      this.#app.destroy()
    }, goodbyeMs)
    this.#client.once('close', () => clearTimeout(timer))
  }
}

/** One way through a tunnel. */
class Direction {
  readonly #from: Duplex
  readonly #to: Duplex
  readonly #isMasked: boolean
  readonly #walker = new FrameWalker()
  #last: Buffer | null = null
  #isOver = false

  constructor(from: Duplex, to: Duplex, { isMasked }: { isMasked: boolean }) {
    this.#from = from
    this.#to = to
    this.#isMasked = isMasked
    from.on('data', (chunk: Buffer) => {
      const firstEnd = this.#walker.push(chunk)
      if (this.#last && !this.#isOver) this.#finish(chunk, firstEnd)
    })
  }

  /** Passes on what is left of the frame under way, then says goodbye; what comes after is thrown away. */
  end(code: number, reason: string): void {
    this.#from.unpipe(this.#to)
    this.#last = closeFrame(code, reason, { isMasked: this.#isMasked })
    if (this.#walker.isBetweenFrames) this.#say(this.#last)
    this.#from.resume()
  }

  #finish(chunk: Buffer, firstEnd: number): void {
    this.#to.write(firstEnd === -1 ? chunk : chunk.subarray(0, firstEnd))
    if (firstEnd !== -1 && this.#last) this.#say(this.#last)
  }

  #say(last: Buffer): void {
    this.#isOver = true
    // It has said goodbye itself.
    if (this.#walker.hasClosed) this.#to.end()
    else this.#to.end(last)
  }
}
