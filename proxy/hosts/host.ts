import { AppError, messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { Isolate, IsolateExit, IsolateSpec, Speech } from '../../sandbox/isolate/isolate.ts'
import type { HostState } from '../edge-messages.ts'
import { FurtherIsolates } from './further-isolates.ts'
import { LoadWatch } from './load-watch.ts'

/** What a start needs, but for the socket: each start listens on a path of its own. */
export type HostSpec = Omit<IsolateSpec, 'socketPath' | 'onLog'>

export type HostDeps = {
  start: (spec: IsolateSpec) => Promise<Isolate>
  socketPath: (start: number) => string
  /** Isolates at a time, at most. */
  maxIsolates: number
  /** Whether the machine could give another one a core. */
  hasFreeCore: () => boolean
  onLine: (stream: 'stdout' | 'stderr' | 'platform', line: string) => void
  onState: (state: HostState) => void
  log: Log
  limits: HostLimits
}
export type HostLimits = {
  startTimeoutMs: number
  stopGraceMs: number
  firstBackoffMs: number
  maxBackoffMs: number
}

/** Where an app listens, and what it speaks there. */
export type Place = { socketPath: string; speaks: Speech }

type State =
  | { name: 'asleep' }
  | { name: 'starting' }
  | { name: 'ready'; isolate: Isolate; since: number }
  | { name: 'crashed'; nextStartAt: number }
  | { name: 'stopped' }

// An app that stayed up this long has recovered: its next crash is again restarted at once.
const recoveredMs = 60_000
// No thread that is well takes longer from one turn of its event loop to the next, when it is to end anyway.
const stuckMs = 3_000
const threadStuck = 'its thread was stuck: it answered nothing any more'
const stuckOf = {
  ...{ fetch: threadStuck, server: threadStuck },
  process: 'it was stuck: it took no connection, and said nothing on those it had',
}

/**
 * One deployment's host process: asleep until it is woken, restarted when it ends by itself (at once the first time, then after 1 s, 2 s … 60 s), stopped.
 * What edge processes must know of it is said as it changes. Under load it is joined by further isolates.
 */
export class Host {
  readonly #spec: HostSpec
  readonly #deps: HostDeps
  #state: State = { name: 'asleep' }
  #starts = 0
  #crashes = 0
  #change = Promise.withResolvers<void>()
  #restart: NodeJS.Timeout | null = null
  #current: Isolate | null = null
  #ending: Promise<unknown> | null = null
  #hasSlept = false
  readonly #stuck = new WeakSet<Isolate>()
  #started: Promise<void> = Promise.resolve()
  /** The last start, whoever asked for it. */
  #starting: Promise<void> = Promise.resolve()
  readonly #further: FurtherIsolates
  readonly #load = new LoadWatch()

  constructor(spec: HostSpec, deps: HostDeps) {
    this.#spec = spec
    this.#deps = deps
    this.#further = new FurtherIsolates({
      launch: () => this.#launch(),
      startTimeoutMs: deps.limits.startTimeoutMs,
      onChange: () => this.#deps.onState(this.state()),
      onLine: (line) => this.#deps.onLine('platform', line),
    })
  }

  /** Starts it, when it is asleep: as it is made, and after `sleep`. */
  wake(): void {
    if (this.#state.name !== 'asleep') return
    if (this.#hasSlept) this.#deps.onLine('platform', 'woken by a request')
    this.#started = this.#start()
    this.#started.catch(() => undefined) // told to whoever awaits started(); the restart goes on without them
  }

  /** Wakes it. Resolves when that has led to a listening app; rejects with its AppError. */
  started(): Promise<void> {
    this.wake()
    return this.#started
  }

  /** Ends the process, and starts none before it is woken; `why` goes to the app's log. False: it is just starting, or was stopped. */
  sleep(why: string): boolean {
    const state = this.#state
    if (state.name !== 'ready' && state.name !== 'crashed') return false
    if (this.#restart) clearTimeout(this.#restart)
    this.#hasSlept = true
    const { stopGraceMs } = this.#deps.limits
    const further = this.#further.stop(stopGraceMs)
    this.#become({ name: 'asleep' })
    this.#deps.onLine('platform', why)
    this.#ending = Promise.all([further, state.name === 'ready' && state.isolate.stop(stopGraceMs)])
    return true
  }

  /**
   * Asks the app's thread for a sign of life; when it has owed one for `stuckAfterMs`, its process is ended, and started again as after a
   * crash.
   */
  checkAlive(stuckAfterMs: number): void {
    if (this.#state.name !== 'ready') return
    const isolates = [this.#state.isolate, ...this.#further.all]
    for (const isolate of isolates) {
      isolate.ping()
      if (isolate.silentMs() < stuckAfterMs || this.#stuck.has(isolate)) continue
      this.#stuck.add(isolate)
      void isolate.stop(0)
    }
    const wish = this.#load.look(isolates.map((isolate) => isolate.busy()))
    if (wish === 'fewer') this.#further.shrink()
    if (wish === 'more' && isolates.length < this.#deps.maxIsolates && this.#deps.hasFreeCore())
      void this.#further.grow()
  }

  /** Nobody uses it: one isolate is enough. */
  shrink(): void {
    this.#further.shrink()
  }

  /** Where the app listens, if it is up at this moment. */
  place(): Place | null {
    if (this.#state.name !== 'ready') return null
    const { isolate } = this.#state
    return { socketPath: isolate.socketPath, speaks: isolate.speaks() }
  }

  /** What edge processes must know of it. */
  state(): HostState {
    const state = this.#state
    const isolates = [...(state.name === 'ready' ? [state.isolate] : []), ...this.#further.all]
    // While the first is started again the others go on.
    if (isolates[0])
      return { is: 'up', sockets: isolates.map(({ socketPath }) => socketPath), speaks: isolates[0].speaks() }
    if (state.name === 'crashed') return { is: 'crashed', forMs: Math.max(0, state.nextStartAt - performance.now()) }
    return { is: state.name === 'ready' ? 'starting' : state.name }
  }

  /** Waits for the app to be up. Throws APP_CRASHED. */
  async whenUp(timeoutMs: number): Promise<Place> {
    const tooLate = AbortSignal.timeout(Math.ceil(timeoutMs))
    const { promise: late, resolve } = Promise.withResolvers<void>()
    tooLate.addEventListener('abort', () => resolve(), { once: true })
    for (;;) {
      const place = this.place()
      if (place) return place
      if (tooLate.aborted || this.#isStopped())
        throw new AppError('APP_CRASHED', `it was not up again after ${timeoutMs / 1000} s`)
      await Promise.race([this.#change.promise, late])
    }
  }

  /** Ends the process. */
  async stop(): Promise<void> {
    if (this.#restart) clearTimeout(this.#restart)
    // An app that is not up yet has nothing to finish, and one whose thread is stuck cannot. A process may be at work for one visitor at a time.
    const isReady = this.#state.name === 'ready'
    const canFinish = isReady && (this.#spec.runs.kind === 'process' || !this.#isSilent())
    const graceMs = canFinish ? this.#deps.limits.stopGraceMs : 0
    const further = this.#further.stop(graceMs)
    this.#become({ name: 'stopped' })
    // A start that is under way ends what it has launched.
    const starting = this.#starting.catch(() => undefined)
    await Promise.all([this.#ending, further, this.#current?.stop(graceMs), starting])
  }

  #launch(): Promise<Isolate> {
    return this.#deps.start({
      ...this.#spec,
      socketPath: this.#deps.socketPath(++this.#starts),
      onLog: (stream, line) => this.#deps.onLine(stream, line),
    })
  }

  #start(): Promise<void> {
    const starting = this.#startOnce()
    this.#starting = starting
    return starting
  }

  async #startOnce(): Promise<void> {
    this.#become({ name: 'starting' })
    try {
      const isolate = await this.#launch()
      this.#current = isolate
      if (this.#isStopped()) {
        await isolate.stop(0)
        throw stoppedMeanwhile()
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
    if (this.#isStopped()) throw stoppedMeanwhile()
    this.#become({ name: 'ready', isolate, since: performance.now() })
    void isolate.exited.then((exit) => this.#ended(isolate, exit))
  }

  #ended(isolate: Isolate, { error }: IsolateExit): void {
    if (this.#state.name !== 'ready' || this.#state.isolate !== isolate) return
    if (performance.now() - this.#state.since > recoveredMs) this.#crashes = 0
    this.#crashed(this.#stuck.has(isolate) ? stuckOf[this.#spec.runs.kind] : error.message)
  }

  #crashed(why: string): void {
    const { firstBackoffMs, maxBackoffMs } = this.#deps.limits
    const delay = this.#crashes === 0 ? 0 : Math.min(firstBackoffMs * 2 ** (this.#crashes - 1), maxBackoffMs)
    this.#crashes++
    this.#become({ name: 'crashed', nextStartAt: performance.now() + delay })
    const { name } = this.#spec
    this.#deps.log.warn({ host: name, why, restartInMs: delay }, 'host ended')
    // Its last lines follow the reason, and are in its log already.
    const [reason] = why.split('\n', 1)
    this.#deps.onLine(
      'platform',
      `${reason}; it is started again ${delay === 0 ? 'now' : `in ${Math.ceil(delay / 1000)} s`}`,
    )
    this.#restart = setTimeout(() => {
      this.#start().catch((thrown: unknown) => this.#deps.log.debug({ host: name, err: thrown }, 'host start failed'))
    }, delay)
  }

  #become(state: State): void {
    this.#state = state
    this.#change.resolve()
    this.#change = Promise.withResolvers<void>()
    this.#deps.onState(this.state())
  }

  #isSilent(): boolean {
    return this.#state.name === 'ready' && this.#state.isolate.silentMs() >= stuckMs
  }

  #isStopped(): boolean {
    return this.#state.name === 'stopped'
  }
}

function stoppedMeanwhile(): AppError {
  return new AppError('DEPLOYMENT_STATE', 'it was stopped while it started')
}
