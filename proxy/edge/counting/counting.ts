import { newId } from '../../../registry/ids.ts'
import type { EdgeRoute, EdgeRouted, FromEdge, RouteChange } from '../../edge-messages.ts'
import type { Assigned } from '../split.ts'
import { type Binned, Bins } from './bins.ts'
import { CountedRequest } from './counted-request.ts'
import type { CountedVisit } from './counted-visit.ts'
import type { FuseEar, FuseWord } from './fuse.ts'
import { RolloutTally } from './rollout-tally.ts'

const lookEveryMs = 50
const reportEveryMs = 2_000

/** As which status a request counts that the fuse has kept from the candidate. */
const turnedAway = 503

/** `ear`: hears how it went; null: there is no fuse. */
export type Tossed = { serves: EdgeRouted; visit: CountedVisit | null; ear: FuseEar | null }

/** What this process counts: bins of every production route, and the rollouts under way. Told to the main process. */
export class Counting {
  readonly #bootId = newId()
  readonly #send: (message: FromEdge) => void
  readonly #bins: Bins
  /** By route. */
  readonly #tallies = new Map<string, RolloutTally>()
  #looking: NodeJS.Timeout | null = null
  #reportedAt = 0

  constructor({ send }: { send: (message: FromEdge) => void }) {
    this.#send = send
    this.#bins = new Bins({ bootId: this.#bootId, tell: (bins) => send({ type: 'bins', bins }) })
  }

  /** Takes the segments in force. What was counted of a rollout that is over is of no more use. */
  follow({ changed, gone }: Pick<RouteChange<EdgeRoute>, 'changed' | 'gone'>): void {
    const now = performance.now()
    for (const id of gone) this.#tallies.delete(id)
    for (const { id, rollout } of changed) {
      const known = this.#tallies.get(id)
      if (!rollout) this.#tallies.delete(id)
      else if (known?.id === rollout.id) known.follow(rollout, now)
      else this.#tallies.set(id, new RolloutTally(rollout, now, (word) => this.#tellOthers(rollout.id, word)))
    }
    this.#lookIfNeeded()
  }

  /**
   * Counts a request for the arm that the toss chose. While the candidate cannot be reached the old deployment serves it instead, and it is one that
   * the candidate failed.
   */
  toss(route: EdgeRoute, { arm, chosen, visitor, toss }: Assigned, target: string, startedAt: number): Tossed {
    const tally = visitor && toss && this.#tallies.get(route.id)
    if (!tally) return { serves: chosen, visit: null, ear: null }
    const { fuse } = tally
    const { unit } = toss
    const visit = tally.begin({ chosen: chosen.id, unit, isKnown: visitor.isKnown, target, startedAt })
    if (arm === 'live' || !visit) return { serves: chosen, visit, ear: visit && fuse.old }
    const other = route.live
    if (other === null) return { serves: chosen, visit, ear: null }
    if (fuse.admits(startedAt)) return { serves: chosen, visit, ear: fuse.candidate }
    visit.failed(turnedAway)
    return { serves: other, visit: null, ear: fuse.old }
  }

  /** Counts what becomes of a request to a deployment; times as performance.now(). */
  begin(
    deployment: Binned,
    routeId: string,
    startedAt: number,
    { visit, ear }: Pick<Tossed, 'visit' | 'ear'>,
  ): CountedRequest {
    return new CountedRequest(this.#bins, deployment, routeId, startedAt, visit, ear)
  }

  acknowledge({ rolloutId, seq }: { rolloutId: string; seq: number }): void {
    this.#find(rolloutId)?.acknowledge(seq)
  }

  /** So often in a row the candidate could not be reached, for all edge processes of this proxy. */
  hearOfFailures({ rolloutId, failures }: { rolloutId: string; failures: number }): void {
    this.#find(rolloutId)?.fuse.hear(failures, performance.now())
  }

  /** Tells what is still untold. */
  close(): void {
    if (this.#looking) clearInterval(this.#looking)
    this.#report([...this.#tallies.values()])
    this.#bins.close()
  }

  #find(rolloutId: string): RolloutTally | undefined {
    return this.#tallies.values().find(({ id }) => id === rolloutId)
  }

  #tellOthers(rolloutId: string, word: FuseWord): void {
    this.#send({ type: 'fuse', rolloutId, word })
  }

  #lookIfNeeded(): void {
    if (this.#tallies.size > 0) this.#looking ??= setInterval(() => this.#look(), lookEveryMs)
    else if (this.#looking) {
      clearInterval(this.#looking)
      this.#looking = null
    }
  }

  #look(): void {
    const now = performance.now()
    for (const tally of this.#tallies.values()) tally.look(now)
    const isDue = now - this.#reportedAt >= reportEveryMs
    if (isDue) this.#reportedAt = now
    this.#report([...this.#tallies.values()].filter(({ isUrgent }) => isDue || isUrgent))
  }

  #report(tallies: RolloutTally[]): void {
    if (tallies.length === 0) return
    this.#send({ type: 'rollouts', reports: tallies.map((tally) => tally.report(this.#bootId)) })
  }
}
