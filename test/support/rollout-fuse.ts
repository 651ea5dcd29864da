import { Fuse } from '../../proxy/edge/counting/fuse.ts'
import { Fuses } from '../../proxy/fuses.ts'
import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import type { Before } from '../../registry/rollouts/decide.ts'
import { noCounts } from '../../registry/rollouts/segments.ts'
import type { Random } from './random.ts'
import type { Hour, Traffic } from './rollout-simulation.ts'
import { type App, type Arm, drawBefore, requestTraffic } from './rollout-traffic.ts'

/** `share` of an arm's requests that began in this time are answered 503, and only so long after they began. */
export type Outage = { fromSec: number; toSec: number; share: (arm: Arm) => number; afterMs: number }

const rolloutId = 'r'
const answersAfterMs = 50
// A fuse that blew at the end stays so for half a minute, and has to try.
const aftermathSec = 80
const seenBeforeSec = 20

/** Traffic through the platform's own fuses: one of each edge process, joined in the proxy's main process. */
export class FusedTraffic implements Traffic {
  readonly before: Before
  readonly readLimits: Traffic['readLimits']
  /** 503s of the candidate that a visitor saw. */
  seen = 0
  readonly #plain: Traffic
  readonly #outage: Outage
  readonly #app: App
  readonly #random: Random
  readonly #fuses: Fuse[]
  #now = 0
  #pending: { at: number; tell: (now: number) => void }[] = []

  constructor(
    { app, outage, processes }: { app: App; outage: Outage; processes: number },
    policy: RolloutPolicy,
    random: Random,
    before = drawBefore(app, random),
  ) {
    this.#plain = requestTraffic(app, policy, random, before)
    this.#outage = outage
    this.#app = app
    this.#random = random
    this.before = before
    this.readLimits = this.#plain.readLimits
    const joined = new Fuses()
    this.#fuses = Array.from({ length: processes }, () => {
      return new Fuse((word) => {
        const heard = joined.hear({ type: 'fuse', rolloutId, word })
        if (heard.type === 'failures') for (const fuse of this.#fuses) fuse.hear(heard.failures, this.#now)
      })
    })
  }

  /** Request by request around the outage, where latency is left out; otherwise there is nothing for a fuse to do. */
  step(hour: Hour, stepSec: number): ReturnType<Traffic['step']> {
    const { fromSec, toSec } = this.#outage
    if (hour.sec + stepSec <= fromSec - seenBeforeSec || hour.sec >= toSec + aftermathSec)
      return this.#plain.step(hour, stepSec)
    const arms = { candidate: { ...noCounts }, baseline: { ...noCounts } }
    const count = this.#random.poisson(this.#app.requestsPerSec * stepSec)
    const times = Float64Array.from(
      { length: count },
      () => (hour.sec + this.#random.uniform() * stepSec) * 1000,
    ).sort()
    for (const at of times) {
      this.#tellUntil(at)
      const arm: Arm = this.#random.uniform() < hour.weight ? 'candidate' : 'baseline'
      const counts = arms[arm]
      counts.requests++
      counts.tosses++
      if (this.#fails(arm, at, hour)) counts.errorUnits = ++counts.errorRequests
    }
    return arms
  }

  // As `Counting.toss` does it. True: it counts as an error of its arm.
  #fails(arm: Arm, at: number, hour: Hour): boolean {
    const fuse = this.#fuses[Math.floor(this.#random.uniform() * this.#fuses.length)]
    if (!fuse) throw new Error('there is no edge process')
    const isTurnedAway = arm === 'candidate' && !fuse.admits(at)
    const serves = isTurnedAway ? 'baseline' : arm
    const { fromSec, toSec, share, afterMs } = this.#outage
    const isUnreached = at >= fromSec * 1000 && at < toSec * 1000 && this.#random.uniform() < share(serves)
    const status = isUnreached ? 503 : this.#random.uniform() < this.#app.errorRate(serves, hour) ? 500 : 200
    const tookMs = isUnreached ? afterMs : answersAfterMs
    const ear = serves === 'candidate' ? fuse.candidate : fuse.old
    this.#pending.push({ at: at + tookMs, tell: (now) => ear(status, at, now) })
    if (isUnreached && serves === 'candidate') this.seen++
    return isTurnedAway || status >= 500
  }

  #tellUntil(now: number): void {
    const due = this.#pending.filter(({ at }) => at <= now).sort((one, other) => one.at - other.at)
    if (due.length === 0) return
    this.#pending = this.#pending.filter(({ at }) => at > now)
    for (const { at, tell } of due) {
      this.#now = at
      tell(at)
    }
  }
}
