import { setTimeout as pause } from 'node:timers/promises'
import type { HostState } from '../../edge-messages.ts'
import { ChannelUpstream } from './channel-upstream.ts'
import { HttpUpstream, type HttpUpstreamLimits } from './http-upstream.ts'
import type { Upstream } from './upstream.ts'

export type HostViewLimits = HttpUpstreamLimits & { maxWaiting: number }

/** Why there is no upstream now. `retryAfterMs` is how long until it may be there. */
export class HostUnavailable extends Error {
  readonly why: 'starting' | 'crashed' | 'busy' | 'stopped'
  readonly retryAfterMs: number

  constructor(why: HostUnavailable['why'], retryAfterMs: number) {
    super(`the host is ${why}`)
    this.name = 'HostUnavailable'
    this.why = why
    this.retryAfterMs = retryAfterMs
  }
}

const reuseMs = 2_000
// Between a process's end and the main process's word of it.
const noticeExitMs = 250
// What an isolate that leaves has for the requests on their way.
const leaveMs = 30_000
const leaveLookMs = 250

/**
 * A deployment's host process as an edge process sees it: the way to it while it is up, and the requests that wait for it, within bounds,
 * while it is not.
 */
export class HostView {
  readonly #limits: HostViewLimits
  readonly #wake: () => void
  #isCalled = false
  #state: HostState = { is: 'starting' }
  #nextStartAt = 0
  #upstreams: Upstream[] = []
  #waiting = new Set<{ resolve: (upstream: Upstream) => void; reject: (reason: unknown) => void }>()
  #changed = Promise.withResolvers<void>()

  /** `wake` tells the main process that somebody waits for a host that is asleep. */
  constructor(limits: HostViewLimits, { wake }: { wake: () => void }) {
    this.#limits = limits
    this.#wake = wake
  }

  /** Takes what the main process says of it. */
  become(state: HostState): void {
    // Said again to all when one has fallen asleep too early: requests on their way stay on it.
    if (isSamePlace(this.#state, state)) return
    const before = this.#upstreams
    this.#state = state
    this.#upstreams = state.is === 'up' ? this.#waysTo(state, before) : []
    for (const upstream of before) if (!this.#upstreams.includes(upstream)) this.#leave(upstream)
    this.#changed.resolve()
    this.#changed = Promise.withResolvers<void>()
    const [first] = this.#upstreams
    if (first) for (const waiter of this.#waiting) waiter.resolve(first)
    this.#isCalled = false
    if (this.#waiting.size > 0) this.#call()
    if (state.is === 'stopped') this.#turnAway(new HostUnavailable('stopped', 1000))
    if (state.is !== 'crashed') return
    this.#nextStartAt = performance.now() + state.forMs
    if (state.forMs > reuseMs) this.#turnAway(new HostUnavailable('crashed', state.forMs))
  }

  /** The way to the app, if it is up at this moment. */
  upstream(): Upstream | null {
    const upstreams = this.#upstreams
    return upstreams.length < 2 ? (upstreams[0] ?? null) : upstreams.reduce(lessInFlight)
  }

  /** Requests on their way to it, or waiting for it: also those that no client waits for. */
  get inFlight(): number {
    return this.#upstreams.reduce((sum, { inFlight }) => sum + inFlight, this.#waiting.size)
  }

  /** Waits for the app to be up. Throws HostUnavailable. */
  async whenUp(timeoutMs: number): Promise<Upstream> {
    const upstream = this.upstream()
    if (upstream) return upstream
    if (this.#state.is === 'stopped') throw new HostUnavailable('stopped', 1000)
    const untilStart = this.#state.is === 'crashed' ? this.#nextStartAt - performance.now() : 0
    if (untilStart > reuseMs) throw new HostUnavailable('crashed', untilStart)
    if (this.#waiting.size >= this.#limits.maxWaiting) throw new HostUnavailable('busy', reuseMs)

    this.#call()
    const waiter = Promise.withResolvers<Upstream>()
    this.#waiting.add(waiter)
    const timer = setTimeout(() => waiter.reject(new HostUnavailable('starting', reuseMs)), timeoutMs)
    try {
      return await waiter.promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(waiter)
    }
  }

  /** Waits for the app to be up after a connection to `failed` was refused: its process has ended, or is about to be seen as ended. */
  async whenUpAgain(failed: Upstream, timeoutMs: number): Promise<Upstream> {
    const other = this.#upstreams.find((upstream) => upstream !== failed)
    if (other) return other
    if (this.#upstreams.includes(failed)) await Promise.race([this.#changed.promise, pause(noticeExitMs)])
    return this.whenUp(timeoutMs)
  }

  close(): void {
    this.become({ is: 'stopped' })
  }

  // Once, however many wait.
  #call(): void {
    if (this.#state.is !== 'asleep' || this.#isCalled) return
    this.#isCalled = true
    this.#wake()
  }

  #waysTo({ sockets, speaks }: HostState & { is: 'up' }, known: Upstream[]): Upstream[] {
    const wayTo = (path: string) =>
      speaks === 'channel' ? new ChannelUpstream(path, this.#limits) : new HttpUpstream(path, this.#limits, speaks)
    return sockets.map((path) => known.find(({ socketPath }) => socketPath === path) ?? wayTo(path))
  }

  // While other isolates go on, this one may be leaving in peace: what is on its way there ends first.
  #leave(upstream: Upstream): void {
    const until = performance.now() + leaveMs
    const look = () => {
      if (upstream.inFlight === 0 || this.#state.is !== 'up' || performance.now() > until) upstream.close()
      else setTimeout(look, leaveLookMs).unref()
    }
    look()
  }

  #turnAway(reason: HostUnavailable): void {
    for (const waiter of this.#waiting) waiter.reject(reason)
  }
}

function lessInFlight(one: Upstream, other: Upstream): Upstream {
  return other.inFlight < one.inFlight ? other : one
}

function isSamePlace(one: HostState, other: HostState): boolean {
  return one.is === 'up' && other.is === 'up' && one.sockets.join() === other.sockets.join()
}
