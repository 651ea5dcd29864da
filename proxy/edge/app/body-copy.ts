import type { ResponseCache } from '../cache/response-cache.ts'

/** A body as it is gathered for the cache, within the bounds of one entry and of all that is being gathered. */
export class BodyCopy {
  readonly #cache: ResponseCache
  #chunks: Buffer[] = []
  #bytes = 0

  constructor(cache: ResponseCache) {
    this.#cache = cache
  }

  /** False: there is no room for it, and what was gathered is let go. */
  add(chunk: Buffer): boolean {
    const isRoom = this.#bytes + chunk.length <= this.#cache.limits.cacheEntryBytes && this.#cache.reserve(chunk.length)
    if (!isRoom) {
      this.drop()
      return false
    }
    this.#bytes += chunk.length
    this.#chunks.push(chunk)
    return true
  }

  /** All of it, in memory of its own: a chunk may be a small piece of a large buffer. */
  take(): Buffer {
    const whole = Buffer.allocUnsafeSlow(this.#bytes)
    let at = 0
    for (const chunk of this.#chunks) at += chunk.copy(whole, at)
    this.drop()
    return whole
  }

  drop(): void {
    this.#cache.release(this.#bytes)
    this.#chunks = []
    this.#bytes = 0
  }
}
