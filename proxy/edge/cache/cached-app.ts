import type { ServerResponse } from 'node:http'
import { type AppCall, type AppRequest, type AppRequestDeps, serveFromApp } from '../app/app-request.ts'
import type { HostView } from '../app/host-view.ts'
import { AnswerLook } from './answer-look.ts'
import { Fill, type Outcome } from './cache-fill.ts'
import { CachePlace } from './cache-place.ts'
import { mayLookUp, variantOf } from './cache-policy.ts'
import { isOrdinary, keyOf } from './cache-request.ts'
import { fetchImpersonal } from './impersonal-fetch.ts'
import { answerIn, type ResponseCache } from './response-cache.ts'

// So long a request waits for another's answer: not long where nothing is known of the address, or where there is an old answer to give.
const waitMs = { unknown: 5_000, stale: 5_000, known: 30_000 }
const maxTurns = 3
// Renewals of one deployment that go on at a time with no client waiting for them.
const maxRenewals = 16
const longestRenewalMs = 120_000
const retryRenewalMs = 2_000

/** Apps behind the response cache: answers come from it where it has them, else from the app, once for all who want the same. */
export class CachedApps {
  readonly #cache: ResponseCache

  constructor(cache: ResponseCache) {
    this.#cache = cache
  }

  /**
   * Answers a request that no file answers. Returns the request to the app where there is one from the start. `turn` counts how often it
   * has waited for another's answer in vain.
   */
  serve(call: AppCall, host: HostView, deps: AppRequestDeps, turn = 1): AppRequest | null {
    if (!this.#cache.isOn || !mayLookUp(call.request)) return serveFromApp(call, host, deps)
    const shelf = this.#cache.shelf(call.ref)
    const key = keyOf(call)
    const slot = shelf.find(key)
    const now = performance.now()
    const answer = slot && answerIn(slot, call.request)
    if (!answer || now >= answer.staleUntil)
      return this.#ask(new CachePlace(this.#cache, shelf, key, call, host, deps), turn)
    slot.isUsed = true
    const isFresh = now < answer.freshUntil
    answer.send(call, isFresh ? 'hit' : 'stale', now)
    if (!isFresh && now >= slot.retryAt) this.#renew(new CachePlace(this.#cache, shelf, key, call, host, deps))
    return null
  }

  // Nobody waits where nothing is known of the address and the answer may be about somebody.
  #ask(place: CachePlace, turn: number): AppRequest | null {
    const { call, shelf, key, slot } = place
    if (turn > maxTurns) return this.#askApp(place, null)
    if (slot) {
      void this.#wait(place, turn)
      return null
    }
    if (!shelf.mayWait(key, performance.now()) || !isOrdinary(call.request)) return this.#askApp(place, null)
    if (!place.join()) return this.#askApp(place, new Fill())
    void this.#wait(place, turn)
    return null
  }

  async #wait(place: CachePlace, turn: number): Promise<void> {
    const { call, answer, slot } = place
    const joined = place.join()
    const hasStale = answer !== null && performance.now() < answer.errorUntil
    const wait = hasStale ? waitMs.stale : slot ? waitMs.known : waitMs.unknown
    const outcome = await (joined ?? fetchImpersonal(place)).outcome(wait)
    if (!call.response.destroyed) this.#settle(place, outcome, { isMine: joined === null, turn })
  }

  #settle(place: CachePlace, outcome: Outcome | null, { isMine, turn }: { isMine: boolean; turn: number }): void {
    const { call, host, deps, answer: before } = place
    const now = performance.now()
    const kept = outcome && 'answer' in outcome ? outcome : null
    const isSame = kept !== null && variantOf(kept.slot.vary, call.request) === kept.variant
    const isStaleAllowed = before !== null && now < before.errorUntil && outcome?.how !== 'passed'
    if (isSame) kept.answer.send(call, isMine ? (kept.how === 'renewed' ? 'revalidated' : 'miss') : 'hit', now)
    else if (kept || outcome?.how === 'gone') endWith(call.response, this.serve(call, host, deps, turn + 1))
    else if (isStaleAllowed) before.send(call, 'stale', now)
    else endWith(call.response, this.#askApp(place.again(), null))
  }

  // `fill`: for whoever comes now and wants the same.
  #askApp(place: CachePlace, fill: Fill | null): AppRequest {
    const { call, host, deps, shelf, key } = place
    if (fill) shelf.fills.set(key, fill)
    return serveFromApp(call, host, deps, new AnswerLook(place, fill))
  }

  #renew(place: CachePlace): void {
    const { shelf, slot } = place
    if (shelf.renewals >= maxRenewals || place.join()) return
    shelf.renewals++
    void fetchImpersonal(place)
      .outcome(longestRenewalMs)
      .then((outcome) => {
        shelf.renewals--
        if (slot && outcome?.how === 'failed') slot.retryAt = performance.now() + retryRenewalMs
      })
  }
}

// Who asked first is told by the edge.
function endWith(response: ServerResponse, asked: AppRequest | null): void {
  if (asked) response.on('close', () => asked.over())
}
