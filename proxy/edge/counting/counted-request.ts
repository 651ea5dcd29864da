import type { ServerResponse } from 'node:http'
import type { Bin, Binned, Bins } from './bins.ts'
import type { CountedVisit } from './counted-visit.ts'
import { type FuseEar, isUnreachable } from './fuse.ts'

/**
 * One request of a production route on its way: what it comes to is counted once, in the bin of the deployment that serves it, and in its rollout if there
 * is one. A client that leaves is no error.
 */
export class CountedRequest {
  readonly #bins: Bins
  readonly #deployment: Binned
  readonly #routeId: string
  readonly #startedAt: number
  readonly #visit: CountedVisit | null
  readonly #ear: FuseEar | null
  #isAsked = false
  #hasNoApp = false
  #isSettled = false
  #isFailed = false
  #isOver = false

  /** `startedAt` as performance.now(). `ear`: of its rollout's fuse. */
  constructor(
    bins: Bins,
    deployment: Binned,
    routeId: string,
    startedAt: number,
    visit: CountedVisit | null,
    ear: FuseEar | null,
  ) {
    this.#bins = bins
    this.#deployment = deployment
    this.#routeId = routeId
    this.#startedAt = startedAt
    this.#visit = visit
    this.#ear = ear
  }

  /** No file answers it: an app does, or the cache. */
  asked(): void {
    this.#isAsked = true
    this.#visit?.asked()
  }

  /** Its deployment has nothing but files: these are its answers. */
  hasNoApp(): void {
    this.#hasNoApp = true
  }

  /** The app has answered it, or a handshake. `hasCookie`: with the visitor's id. */
  answered(status: number, how: 'for everybody' | 'for one', hasCookie: boolean): void {
    if (this.#isSettled) return
    const now = performance.now()
    if (how === 'for one') this.#bin.took(now - this.#startedAt)
    this.#visit?.answered(now, { isCacheable: how === 'for everybody', hasCookie })
    this.#settle(status, status)
  }

  /** Of the app there is no word: the edge has said so with this status, or why it did not ask. */
  refused(status: number): void {
    if (this.#isSettled) return
    if (this.#isAsked) this.#visit?.answeredByEdge(performance.now(), status)
    this.#settle(status, isUnreachable(status) ? status : null)
  }

  /** The app broke off in the middle of its answer. */
  brokeOff(): void {
    if (!this.#isFailed && !this.#isOver) this.#fail(0)
  }

  /** Its response is closed, at its end or before. */
  over(response: Pick<ServerResponse, 'headersSent' | 'statusCode'>): void {
    this.#isOver = true
    if (this.#isSettled) return
    if (!response.headersSent) this.left()
    else {
      // Not the app's own answer: a file's, the cache's, or the edge's word that there is none.
      if (this.#hasNoApp) this.#settle(response.statusCode, response.statusCode)
      else this.refused(response.statusCode)
    }
  }

  /** Its client has left before there was an answer. */
  left(): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#bin.requests++
    this.#visit?.left(performance.now(), this.#isAsked)
    this.#ear?.(null, this.#startedAt, performance.now())
  }

  get #bin(): Bin {
    return this.#bins.of(this.#deployment, this.#routeId)
  }

  // `word`: what it says of the app.
  #settle(status: number, word: number | null): void {
    this.#isSettled = true
    this.#bin.requests++
    this.#visit?.settled(status)
    this.#ear?.(word, this.#startedAt, performance.now())
    if (status >= 500) this.#fail(status)
  }

  #fail(status: number): void {
    this.#isFailed = true
    this.#bin.errors++
    this.#visit?.failed(status)
  }
}
