import { RateLimiterMemory } from 'rate-limiter-flexible'

/** Null: it was not tried, and may be after `retryAfterSec`; `whose`: because of this client, or because of all together. */
export type Tried = { isRight: boolean } | { isRight: null; whose: 'client' | 'all'; retryAfterSec: number }
export type PasswordTriesLimits = { atOnce: number; waitingOfOne: number; waiting: number; wrongAMinute: number }

type Turn = { check: () => Promise<boolean>; resolve: (tried: Tried) => void; reject: (reason: unknown) => void }

// A try costs 50 ms of a thread and 16 MB. Files are read by the same four threads.
const usual: PasswordTriesLimits = { atOnce: 2, waitingOfOne: 4, waiting: 200, wrongAMinute: 20 }
const windowSec = 60
const comeBack = { one: 2, all: 5 }

/**
 * Who may try a password next. Clients take turns, whatever number of tries each has waiting, so one that tries many waits for itself; when more wait than
 * can, it is the one with the most that is told to come back. After twenty wrong ones within a minute it is told so at once. Counted by this process.
 */
export class PasswordTries {
  readonly #limits: PasswordTriesLimits
  // By client; the one at the front is next.
  readonly #waiting = new Map<string, Turn[]>()
  readonly #wrong: RateLimiterMemory
  #count = 0
  #underWay = 0

  constructor(limits: Partial<PasswordTriesLimits> = {}) {
    this.#limits = { ...usual, ...limits }
    this.#wrong = new RateLimiterMemory({ points: this.#limits.wrongAMinute, duration: windowSec })
  }

  /** `check` is called when it is the client's turn. */
  async take(client: string, check: () => Promise<boolean>): Promise<Tried> {
    const wrong = await this.#wrong.get(client)
    if (wrong && wrong.consumedPoints >= this.#limits.wrongAMinute)
      return refusal('client', Math.ceil(wrong.msBeforeNext / 1000))
    if (this.#waitingOf(client).length >= this.#limits.waitingOfOne) return refusal('client', comeBack.one)
    if (this.#count >= this.#limits.waiting && !this.#giveUpOne()) return refusal('all', comeBack.all)
    // After one was given up, which may have been one of its own.
    const turns = this.#waitingOf(client)
    const { promise, resolve, reject } = Promise.withResolvers<Tried>()
    this.#waiting.set(client, [...turns, { check, resolve, reject }])
    this.#count++
    this.#next()
    return promise
  }

  #waitingOf(client: string): Turn[] {
    return this.#waiting.get(client) ?? []
  }

  #next(): void {
    const [client, turns] = this.#waiting.entries().next().value ?? []
    const turn = turns?.[0]
    if (client === undefined || !turn || this.#underWay >= this.#limits.atOnce) return
    this.#waiting.delete(client)
    const left = turns.slice(1)
    if (left.length > 0) this.#waiting.set(client, left)
    this.#count--
    this.#underWay++
    void this.#try(client, turn)
  }

  async #try(client: string, { check, resolve, reject }: Turn): Promise<void> {
    try {
      const isRight = await check()
      if (!isRight) await this.#wrong.penalty(client)
      resolve({ isRight })
    } catch (thrown) {
      reject(thrown)
    } finally {
      this.#underWay--
      this.#next()
    }
  }

  // False: everybody has one.
  #giveUpOne(): boolean {
    const [client, turns = []] = [...this.#waiting].toSorted(([, a], [, b]) => b.length - a.length)[0] ?? []
    if (client === undefined || turns.length < 2) return false
    this.#waiting.set(client, turns.slice(0, -1))
    this.#count--
    turns.at(-1)?.resolve(refusal('client', comeBack.one))
    return true
  }
}

function refusal(whose: 'client' | 'all', retryAfterSec: number): Tried {
  return { isRight: null, whose, retryAfterSec }
}
