import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { Isolate, IsolateExit, IsolateSpec } from '../sandbox/isolate/isolate.ts'
import { ChannelUpstream } from './channel-upstream.ts'
import { HttpUpstream, type HttpUpstreamLimits } from './http-upstream.ts'
import type { Upstream } from './upstream.ts'

/** What a start needs, but for the socket: each start listens on a path of its own. */
export type HostSpec = Omit<IsolateSpec, 'socketPath' | 'onLog'>

export type HostDeps = {
  start: (spec: IsolateSpec) => Promise<Isolate>
  socketPath: (start: number) => string
  onLine: (stream: 'stdout' | 'stderr' | 'platform', line: string) => void
  log: Log
  limits: HostLimits
}
export type HostLimits = HttpUpstreamLimits & {
  startTimeoutMs: number
  stopGraceMs: number
  firstBackoffMs: number
  maxBackoffMs: number
  maxWaiting: number
}

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

type State =
  | { name: 'starting'; since: number }
  | { name: 'ready'; isolate: Isolate; upstream: Upstream; since: number }
  | { name: 'crashed'; nextStartAt: number }
  | { name: 'stopped' }

// An app that stayed up this long has recovered: its next crash is again restarted at once.
const recoveredMs = 60_000
const reuseMs = 2_000
const noticeExitMs = 100

/**
 * One deployment's host process: started, restarted when it ends by itself (at once the first time, then after 1 s, 2 s … 60 s), stopped.
 * Requests that arrive while there is none wait for it, within bounds.
 */
export class Host {
  readonly #spec: HostSpec
  readonly #deps: HostDeps
  #state: State = { name: 'starting', since: performance.now() }
  #starts = 0
  #crashes = 0
  #waiting = new Set<{ resolve: (upstream: Upstream) => void; reject: (reason: unknown) => void }>()
  #restart: NodeJS.Timeout | null = null
  #current: Isolate | null = null
  #firstStart: Promise<void>

  constructor(spec: HostSpec, deps: HostDeps) {
    this.#spec = spec
    this.#deps = deps
    this.#firstStart = this.#start()
    this.#firstStart.catch(() => undefined) // told to whoever awaits firstStart(); the restart goes on without them
  }

  /** Resolves when the first start has led to a listening app; rejects with its AppError. */
  firstStart(): Promise<void> {
    return this.#firstStart
  }

  /** The way to the app, if it is up at this moment. */
  upstream(): Upstream | null {
    return this.#state.name === 'ready' ? this.#state.upstream : null
  }

  /** Waits for the app to be up. Throws HostUnavailable. */
  async whenUp(timeoutMs: number): Promise<Upstream> {
    const state = this.#state
    if (state.name === 'ready') return state.upstream
    if (state.name === 'stopped') throw new HostUnavailable('stopped', 1000)
    const untilStart = state.name === 'crashed' ? state.nextStartAt - performance.now() : 0
    if (untilStart > reuseMs) throw new HostUnavailable('crashed', untilStart)
    if (this.#waiting.size >= this.#deps.limits.maxWaiting) throw new HostUnavailable('busy', reuseMs)

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
    if (this.#state.name === 'ready' && this.#state.upstream === failed) {
      await Promise.race([this.#state.isolate.exited, pause(noticeExitMs)])
    }
    return this.whenUp(timeoutMs)
  }

  /** Ends the process; who still waits is turned away. */
  async stop(): Promise<void> {
    if (this.#restart) clearTimeout(this.#restart)
    // An app that is not up yet has nothing to finish.
    const graceMs = this.#state.name === 'ready' ? this.#deps.limits.stopGraceMs : 0
    if (this.#state.name === 'ready') this.#state.upstream.close()
    this.#state = { name: 'stopped' }
    this.#turnAway(new HostUnavailable('stopped', 1000))
    await this.#current?.stop(graceMs)
  }

  async #start(): Promise<void> {
    const start = ++this.#starts
    this.#state = { name: 'starting', since: performance.now() }
    try {
      const isolate = await this.#deps.start({
        ...this.#spec,
        socketPath: this.#deps.socketPath(start),
        onLog: (stream, line) => this.#deps.onLine(stream, line),
      })
      this.#current = isolate
      if (this.#isStopped()) {
        await isolate.stop(0)
        throw new HostUnavailable('stopped', 1000)
      }
      await this.#untilReady(isolate)
    } catch (thrown) {
      if (!this.#isStopped()) this.#crashed(messageOf(thrown))
      throw thrown
    }
  }

  async #untilReady(isolate: Isolate): Promise<void> {
    try {
      await isolate.ready(this.#deps.limits.startTimeoutMs)
    } catch (thrown) {
      await isolate.stop(0)
      throw thrown
    }
    if (this.#isStopped()) throw new HostUnavailable('stopped', 1000)
    const Way = isolate.speaks() === 'channel' ? ChannelUpstream : HttpUpstream
    const upstream = new Way(isolate.socketPath, this.#deps.limits)
    this.#state = { name: 'ready', isolate, upstream, since: performance.now() }
    for (const waiter of this.#waiting) waiter.resolve(upstream)
    void isolate.exited.then((exit) => this.#ended(isolate, upstream, exit))
  }

  #ended(isolate: Isolate, upstream: Upstream, { error }: IsolateExit): void {
    upstream.close()
    if (this.#state.name !== 'ready' || this.#state.isolate !== isolate) return
    if (performance.now() - this.#state.since > recoveredMs) this.#crashes = 0
    this.#crashed(error.message)
  }

  #crashed(why: string): void {
    const { firstBackoffMs, maxBackoffMs } = this.#deps.limits
    const delay = this.#crashes === 0 ? 0 : Math.min(firstBackoffMs * 2 ** (this.#crashes - 1), maxBackoffMs)
    this.#crashes++
    this.#state = { name: 'crashed', nextStartAt: performance.now() + delay }
    const { name } = this.#spec
    this.#deps.log.warn({ host: name, why, restartInMs: delay }, 'host ended')
    // Its last lines follow the reason, and are in its log already.
    const [reason] = why.split('\n', 1)
    this.#deps.onLine(
      'platform',
      `${reason}; it is started again ${delay === 0 ? 'now' : `in ${Math.ceil(delay / 1000)} s`}`,
    )
    if (delay > reuseMs) this.#turnAway(new HostUnavailable('crashed', delay))
    this.#restart = setTimeout(() => {
      this.#start().catch((thrown: unknown) => this.#deps.log.debug({ host: name, err: thrown }, 'host start failed'))
    }, delay)
  }

  #turnAway(reason: HostUnavailable): void {
    for (const waiter of this.#waiting) waiter.reject(reason)
  }

  #isStopped(): boolean {
    return this.#state.name === 'stopped'
  }
}
