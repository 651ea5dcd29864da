import type { Readable } from 'node:stream'
import { type CacheWord, type Client, openAnswer, sendWhole } from '../app/app-answer.ts'
import type { AnswerWatch } from '../app/app-request.ts'
import { BodyCopy } from '../app/body-copy.ts'
import { headerIn, type ResponseHead } from '../app/response-head.ts'
import type { UpstreamResponse } from '../app/upstream.ts'
import { type Fill, longestFillMs, type Outcome } from './cache-fill.ts'
import type { CachePlace } from './cache-place.ts'
import { readTerms, type Terms } from './cache-policy.ts'
import { isOrdinary } from './cache-request.ts'
import { clientHeaders } from './cached-answer.ts'
import { fetchImpersonal } from './impersonal-fetch.ts'

/** Looks at the answer to a client's own request, and keeps a copy of one that is for everybody. */
export class AnswerLook implements AnswerWatch {
  word: CacheWord = 'bypass'
  readonly #place: CachePlace
  readonly #fill: Fill | null
  #isCopying = false

  /** `fill`: for others who want the same. */
  constructor(place: CachePlace, fill: Fill | null) {
    this.#place = place
    this.#fill = fill
  }

  isShared(): boolean {
    return (this.#fill?.waiting ?? 0) > 0
  }

  failed(): void {
    this.#end({ how: this.#place.call.response.destroyed ? 'gone' : 'failed' })
  }

  take(head: ResponseHead, answer: UpstreamResponse, abort: () => void): boolean {
    const { shelf, key, call } = this.#place
    const terms = this.#isTooLong(head) ? null : readTerms(head.status === 304 ? 200 : head.status, answer.pairs)
    if (terms === null) {
      const now = performance.now()
      if (head.status < 500 && (this.#fill || shelf.isPassed(key, now))) shelf.pass(key, now)
      this.#end({ how: head.status < 500 ? 'passed' : 'failed' })
      return false
    }
    this.word = 'miss'
    if ((this.#fill || isOrdinary(call.request)) && this.#place.isKeepable(head, answer)) {
      this.#send(head, terms, answer.body, abort)
      return true
    }
    head.headers = clientHeaders(head.headers)
    if (call.request.method === 'GET' && !shelf.isPassed(key, performance.now())) this.#askImpersonally(terms)
    // Who waits finds the impersonal answer on its way.
    this.#end({ how: 'gone' })
    return false
  }

  // Once, however many have come with something of their own.
  #askImpersonally({ vary }: Terms): void {
    const { shelf, key, call } = this.#place
    shelf.open(key, call, vary)
    const place = this.#place.again()
    const isThere = place.answer !== null && performance.now() < place.answer.staleUntil
    if (!isThere && !place.join()) fetchImpersonal(place)
  }

  #send(head: ResponseHead, terms: Terms, body: Buffer | Readable, abort: () => void): void {
    const { cache, call } = this.#place
    const client = { ...call, headers: [...call.headers, 'x-atelier-cache', this.word] }
    const sent = { ...head, headers: [...clientHeaders(head.headers)] }
    const copy = new BodyCopy(cache)
    if (!Buffer.isBuffer(body)) {
      this.#isCopying = true
      this.#sendStream(client, { sent, head, body, abort }, copy, terms)
      return
    }
    this.#end(copy.add(body) ? this.#place.keep(head, terms, copy.take()) : this.#tooLarge())
    if (!call.response.destroyed) sendWhole(client, sent, body)
  }

  // As fast as the client reads, as long as it is alone: what it does not read would wait in this process's memory. When others wait, the copy
  // takes all that comes, up to its bounds, and a client that reads slowly, or leaves, holds nobody up.
  #sendStream(
    client: Client,
    { sent, head, body, abort }: { sent: ResponseHead; head: ResponseHead; body: Readable; abort: () => void },
    copy: BodyCopy,
    terms: Terms,
  ): void {
    const { response } = client
    const to = response.destroyed ? null : openAnswer(client, sent)
    const goOn = () => {
      if (this.#isCopying) body.resume()
    }
    const giveUp = () => {
      clearTimeout(tooLong)
      this.#isCopying = false
      copy.drop()
      to?.off('drain', goOn)
      this.#end(this.#tooLarge())
      body.off('data', take)
      if (to && !response.destroyed) body.pipe(to)
      else abort()
    }
    const take = (chunk: Buffer) => {
      const isFull = !response.destroyed && to?.write(chunk) === false
      if (!copy.add(chunk)) giveUp()
      else if (isFull && !this.isShared()) body.pause()
    }
    // One that trickles without end would go on for nobody when its client has left, and take room for copies from all other apps.
    const tooLong = setTimeout(giveUp, longestFillMs)
    body.on('close', () => clearTimeout(tooLong))
    if (this.#fill) this.#fill.onWait = goOn
    to?.on('drain', goOn)
    // An upstream may have paused it.
    body.on('data', take).resume()
    body.on('end', () => {
      clearTimeout(tooLong)
      if (!this.#isCopying) return
      this.#isCopying = false
      this.#end(this.#place.keep(head, terms, copy.take()))
      if (!response.destroyed) to?.end()
    })
    body.on('error', () => response.destroy())
    body.on('close', () => {
      if (!this.#isCopying) return
      this.#isCopying = false
      copy.drop()
      this.#end({ how: 'failed' })
      response.destroy()
    })
  }

  #isTooLong({ hasLength, headers }: ResponseHead): boolean {
    return hasLength && Number(headerIn(headers, 'content-length')) > this.#place.cache.limits.cacheEntryBytes
  }

  #tooLarge(): Outcome {
    const { shelf, key } = this.#place
    shelf.remove(key)
    shelf.pass(key, performance.now())
    return { how: 'passed' }
  }

  #end(outcome: Outcome): void {
    const { shelf, key } = this.#place
    if (!this.#fill) return
    if (shelf.fills.get(key) === this.#fill) shelf.fills.delete(key)
    this.#fill.end(outcome)
  }
}
