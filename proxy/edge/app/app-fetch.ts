import { Readable } from 'node:stream'
import type { HostView } from './host-view.ts'
import { type Exchange, type Upstream, UpstreamError, type UpstreamResponse } from './upstream.ts'

const maxTries = 3

/** A GET of the edge's own to an app, for no client. Told again to a process that cannot have seen it, like those of clients. */
export class AppFetch {
  readonly #host: HostView
  readonly #target: string
  readonly #headers: string[]
  readonly #waitMs: number
  #exchange: Exchange | null = null
  #isAborted = false

  constructor(host: HostView, { target, headers, waitMs }: { target: string; headers: string[]; waitMs: number }) {
    this.#host = host
    this.#target = target
    this.#headers = headers
    this.#waitMs = waitMs
  }

  /** Rejects with an UpstreamError or HostUnavailable. */
  async response(): Promise<UpstreamResponse> {
    let upstream = this.#host.upstream() ?? (await this.#host.whenUp(this.#waitMs))
    let fresh = false
    for (let tries = 1; ; tries++) {
      try {
        return await this.#send(upstream, fresh)
      } catch (thrown) {
        if (!(thrown instanceof UpstreamError) || this.#isAborted || tries >= maxTries) throw thrown
        if (thrown.fault === 'stale' && !fresh) fresh = true
        else if (thrown.fault === 'unsent') upstream = await this.#host.whenUpAgain(upstream, this.#waitMs)
        else throw thrown
      }
    }
  }

  /** Ends it at any time; a response under way then ends with an error. */
  abort(): void {
    this.#isAborted = true
    this.#exchange?.abort()
  }

  #send(upstream: Upstream, fresh: boolean): Promise<UpstreamResponse> {
    return new Promise((resolve, reject) => {
      if (this.#isAborted) throw new UpstreamError('lost', 'given up before it was sent')
      this.#exchange = upstream.send(
        { method: 'GET', target: this.#target, headers: this.#headers, body: Readable.from([]), bodyLength: 0 },
        { answered: resolve, failed: reject },
        { fresh },
      )
    })
  }
}
