import type { AppCall, AppRequestDeps } from '../app/app-request.ts'
import type { HostView } from '../app/host-view.ts'
import { headerIn, type ResponseHead } from '../app/response-head.ts'
import type { UpstreamResponse } from '../app/upstream.ts'
import type { Fill, Outcome } from './cache-fill.ts'
import { type Terms, variantOf } from './cache-policy.ts'
import { CachedAnswer } from './cached-answer.ts'
import { answerIn, type ResponseCache, type Shelf, type Slot } from './response-cache.ts'

/** One request's place in the cache: where its answer is, or would be kept. */
export class CachePlace {
  readonly cache: ResponseCache
  readonly shelf: Shelf
  readonly key: string
  readonly call: AppCall
  readonly host: HostView
  readonly deps: AppRequestDeps
  readonly #purges: number

  constructor(cache: ResponseCache, shelf: Shelf, key: string, call: AppCall, host: HostView, deps: AppRequestDeps) {
    this.cache = cache
    this.shelf = shelf
    this.key = key
    this.call = call
    this.host = host
    this.deps = deps
    this.#purges = shelf.purges
  }

  /** The same place for a request to the app that begins later: after what has been purged meanwhile. */
  again(): CachePlace {
    const { cache, shelf, key, call, host, deps } = this
    return new CachePlace(cache, shelf, key, call, host, deps)
  }

  get slot(): Slot | null {
    return this.shelf.find(this.key) ?? null
  }

  /** The answer that is there, whatever its age. */
  get answer(): CachedAnswer | null {
    const { slot } = this
    return slot && answerIn(slot, this.call.request)
  }

  /** What a fetch for this place goes by: as long as nothing is known of the address, by that alone. */
  get fillKey(): string {
    const { slot } = this
    return slot === null ? this.key : `${this.key}\n${variantOf(slot.vary, this.call.request)}`
  }

  join(): Fill | null {
    return this.shelf.fills.get(this.fillKey) ?? null
  }

  /** Whether the answer can be kept as it came: in no coding, with an end that is told from a cut, and nothing after it. */
  isKeepable(head: ResponseHead, { body, pairs, trailers }: UpstreamResponse): boolean {
    const coding = headerIn(head.headers, 'content-encoding')
    if (head.status === 304 || (coding !== undefined && coding.toLowerCase() !== 'identity')) return false
    if (head.type.startsWith('text/event-stream') || (Buffer.isBuffer(body) && trailers().length > 0)) return false
    if (this.host.upstream()?.speaks === 'channel') return true
    return headerIn(pairs, 'content-length') !== undefined || headerIn(pairs, 'transfer-encoding') !== undefined
  }

  /** Keeps the answer, unless a purge came between, or the deployment is gone, or its body is not as long as its head says. */
  keep(head: ResponseHead, terms: Terms, body: Buffer): Outcome {
    const length = headerIn(head.headers, 'content-length')
    if (length !== undefined && Number(length) !== body.length) return { how: 'failed' }
    return this.#put(terms, new CachedAnswer({ head, terms, body, at: performance.now() }, this.call.headers), 'stored')
  }

  /** Keeps the answer that is there for another while, as the app has said. */
  renew(answer: CachedAnswer, terms: Terms, headers: string[]): Outcome {
    return this.#put(terms, answer.renewed(terms, headers, performance.now()), 'renewed')
  }

  #put(terms: Terms, answer: CachedAnswer, how: 'stored' | 'renewed'): Outcome {
    if (this.shelf.isClosed || this.shelf.purges !== this.#purges) return { how: 'gone' }
    const slot = this.shelf.open(this.key, this.call, terms.vary)
    const variant = variantOf(terms.vary, this.call.request)
    this.shelf.put(slot, variant, answer)
    return { how, slot, variant, answer }
  }
}
