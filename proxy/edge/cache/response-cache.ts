import type { IncomingMessage } from 'node:http'
import type { Purge } from '../../../registry/purges.ts'
import type { Fill } from './cache-fill.ts'
import { variantOf } from './cache-policy.ts'
import type { CachedAnswer } from './cached-answer.ts'

export type CacheLimits = { cacheBytes: number; cacheEntryBytes: number }

/** What is known of one address: answers by the values of the request headers they are for. Without any it says that its answers may be kept. */
export type Slot = {
  readonly key: string
  readonly target: string
  /** The target before the site's rules have rewritten it. */
  readonly asked: string
  readonly vary: readonly string[]
  readonly variants: Map<string, CachedAnswer>
  /** The one answer where nothing varies. */
  only: CachedAnswer | null
  /** Since the clock hand last came by. */
  isUsed: boolean
  bytes: number
  /** After a renewal that failed, none is tried before this time. */
  retryAt: number
}

const maxVariants = 16
const slotBytes = 300
// An address whose answers may not be kept is not waited for by a second request.
const passForMs = 60_000
const maxPasses = 1_000
const longestPass = 512

/** The answers of apps in the memory of one edge process: bounded in bytes, by deployment. */
export class ResponseCache {
  readonly limits: CacheLimits
  readonly #shelves = new Map<string, Shelf>()
  #bytes = 0
  #pending = 0

  constructor(limits: CacheLimits) {
    this.limits = limits
  }

  get isOn(): boolean {
    return this.limits.cacheBytes > 0
  }

  /** Bytes of all that is kept, as near as that can be told. */
  get bytes(): number {
    return this.#bytes
  }

  /** The answers of one deployment; no other deployment's are ever on it. */
  shelf({ id, appId }: { id: string; appId: string }): Shelf {
    const known = this.#shelves.get(id)
    if (known) return known
    const shelf = new Shelf(appId, (bytes) => this.#account(bytes))
    this.#shelves.set(id, shelf)
    return shelf
  }

  /** Forgets a deployment that nobody is sent to any more. */
  drop(deploymentId: string): void {
    this.#shelves.get(deploymentId)?.close()
    this.#shelves.delete(deploymentId)
  }

  /** Forgets answers of all deployments of an app; what is being fetched now is not kept. Returns how many were forgotten. */
  purge(purge: Purge): number {
    const matches = matcher(purge)
    let purged = 0
    for (const shelf of this.#shelves.values()) if (shelf.app === purge.app) purged += shelf.purge(matches)
    return purged
  }

  /** Everything, of every app. */
  clear(): void {
    for (const shelf of this.#shelves.values()) shelf.purge(() => true)
  }

  /** Room for bytes of answers that are still coming; false: there is none. */
  reserve(bytes: number): boolean {
    if (this.#pending + bytes > Math.max(this.limits.cacheBytes / 4, this.limits.cacheEntryBytes)) return false
    this.#pending += bytes
    return true
  }

  release(bytes: number): void {
    this.#pending -= bytes
  }

  // The deployment that holds most gives: one that floods the cache throws out its own.
  #account(bytes: number): void {
    this.#bytes += bytes
    if (bytes <= 0) return
    while (this.#bytes > this.limits.cacheBytes) {
      let largest: Shelf | null = null
      for (const shelf of this.#shelves.values()) if (shelf.bytes > (largest?.bytes ?? 0)) largest = shelf
      if (!largest?.evict()) break
    }
  }
}

/** One deployment's answers. */
export class Shelf {
  readonly app: string
  /** Fetches under way that whoever wants the same joins. */
  readonly fills = new Map<string, Fill>()
  /** How many renewals go on that no client waits for. */
  renewals = 0
  bytes = 0
  /** Rises with every purge: what was asked for before one is not kept after it. */
  purges = 0
  isClosed = false
  readonly #slots = new Map<string, Slot>()
  readonly #passes = new Map<string, number>()
  readonly #account: (bytes: number) => void

  constructor(app: string, account: (bytes: number) => void) {
    this.app = app
    this.#account = account
  }

  find(key: string): Slot | undefined {
    return this.#slots.get(key)
  }

  /** The slot of an address whose answers may be kept, for these headers; one for others is emptied and begins anew. */
  open(key: string, { target, asked }: { target: string; asked: string }, vary: readonly string[]): Slot {
    const known = this.#slots.get(key)
    if (known && known.vary.join() === vary.join()) return known
    if (known) this.remove(key)
    this.#passes.delete(key)
    const slot: Slot = {
      key,
      target,
      asked,
      vary,
      variants: new Map(),
      only: null,
      isUsed: false,
      bytes: 0,
      retryAt: 0,
    }
    this.#slots.set(key, slot)
    this.#grow(slot, slotBytes + 2 * (key.length + target.length + asked.length))
    return slot
  }

  /** Keeps an answer in place of the one before. `slot` has just been opened. */
  put(slot: Slot, variant: string, answer: CachedAnswer): void {
    if (!this.#isHere(slot)) return
    const before = slot.variants.get(variant)
    if (!before && slot.variants.size >= maxVariants)
      for (const oldest of slot.variants.keys().take(1)) this.#take(slot, oldest)
    if (before) this.#take(slot, variant)
    slot.variants.set(variant, answer)
    if (slot.vary.length === 0) slot.only = answer
    answer.onGrowth = (bytes) => {
      if (this.#isHere(slot)) this.#grow(slot, bytes)
    }
    this.#grow(slot, 2 * variant.length + answer.bytes)
  }

  remove(key: string): void {
    const slot = this.#slots.get(key)
    if (!slot) return
    this.#slots.delete(key)
    this.#grow(slot, -slot.bytes)
  }

  /** Remembers that answers of this address may not be kept. */
  pass(key: string, now: number): void {
    if (key.length > longestPass) return
    const until = this.#passes.get(key)
    if (until !== undefined && until - now > passForMs / 2) return
    if (until !== undefined) this.#passes.delete(key)
    else if (this.#passes.size >= maxPasses)
      for (const oldest of this.#passes.keys().take(1)) this.#passes.delete(oldest)
    this.#passes.set(key, now + passForMs)
  }

  /** Whether it is remembered that answers of this address may not be kept. */
  isPassed(key: string, now: number): boolean {
    const until = this.#passes.get(key)
    return until !== undefined && now < until
  }

  /** Whether somebody may wait there for another's answer: not where that would be forgotten, for an address so long is not remembered. */
  mayWait(key: string, now: number): boolean {
    return key.length <= longestPass && !this.isPassed(key, now)
  }

  /** Throws out a slot that has not been used since the hand last came by. False: there is none. */
  evict(): boolean {
    for (const [key, slot] of this.#slots) {
      if (!slot.isUsed) {
        this.remove(key)
        return true
      }
      slot.isUsed = false
      this.#slots.delete(key)
      this.#slots.set(key, slot)
    }
    return false
  }

  /** Empties slots, and lets nobody join a fetch that began before. Returns how many answers went. */
  purge(matches: (slot: Slot, answer: CachedAnswer) => boolean): number {
    this.purges++
    this.fills.clear()
    let purged = 0
    for (const slot of this.#slots.values()) {
      for (const [variant, answer] of slot.variants) {
        if (!matches(slot, answer)) continue
        this.#take(slot, variant)
        purged++
      }
    }
    return purged
  }

  close(): void {
    this.isClosed = true
    this.fills.clear()
    for (const key of [...this.#slots.keys()]) this.remove(key)
  }

  #take(slot: Slot, variant: string): void {
    const answer = slot.variants.get(variant)
    if (!answer) return
    slot.variants.delete(variant)
    if (slot.only === answer) slot.only = null
    answer.onGrowth = null
    this.#grow(slot, -(2 * variant.length + answer.bytes))
  }

  #isHere(slot: Slot): boolean {
    return this.#slots.get(slot.key) === slot
  }

  #grow(slot: Slot, bytes: number): void {
    slot.bytes += bytes
    this.bytes += bytes
    this.#account(bytes)
  }
}

/** The answer for this request, whatever its age. */
export function answerIn(slot: Slot, request: IncomingMessage): CachedAnswer | null {
  return slot.vary.length === 0 ? slot.only : (slot.variants.get(variantOf(slot.vary, request)) ?? null)
}

function matcher({ all, tags, paths }: Purge): (slot: Slot, answer: CachedAnswer) => boolean {
  if (all) return () => true
  // A header is bytes: apps write a tag as Latin-1, or as UTF-8.
  const wantedTags = new Set(tags.flatMap((tag) => [tag, Buffer.from(tag, 'utf8').toString('latin1')]))
  const exact = new Set(paths.filter((path) => !path.endsWith('*')).map(decoded))
  const prefixes = paths.filter((path) => path.endsWith('*')).map((path) => decoded(path.slice(0, -1)))
  const names = (target: string) => {
    const whole = decoded(target)
    const [path = ''] = target.split('?', 1)
    return exact.has(decoded(path)) || exact.has(whole) || prefixes.some((prefix) => whole.startsWith(prefix))
  }
  return ({ target, asked }, { terms }) =>
    terms.tags.some((tag) => wantedTags.has(tag)) || names(target) || (asked !== target && names(asked))
}

// The same address may be written with more escapes or fewer.
function decoded(target: string): string {
  try {
    return decodeURI(target)
  } catch {
    return target
  }
}
