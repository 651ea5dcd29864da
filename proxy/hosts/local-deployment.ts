import type { HostReport } from '../../registry/edge-hosts.ts'
import { AppError, toAppError } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { Manifest } from '../../registry/manifest.ts'
import type { RoutedDeployment } from '../../registry/routes.ts'
import type { DeploymentRef } from '../edge/deployment.ts'
import type { ToEdge } from '../edge-messages.ts'
import type { Host } from './host.ts'

/** A deployment and whose it is, as routes and preparations name it. */
export type LocalRef = RoutedDeployment & Pick<DeploymentRef, 'appId' | 'environment' | 'label'>

/** What is on this machine and running of a deployment. `host` is null for a static app. */
export type OnThisMachine = { manifest: Omit<Manifest, 'files'>; manifestPath: string; host: Host | null }

/** Brings it here and starts its host; `tell` passes on what its edges must know of that host. */
export type LoadDeployment = (ref: LocalRef, tell: (message: ToEdge) => void) => Promise<OnThisMachine>

/** The edge processes, as a deployment needs them. */
export type Edges = {
  tell(message: ToEdge): void
  /** Resolves when no edge has a request of it in flight any more; false: the deadline had passed and they cut them, or it was aborted. */
  drain(id: string, options: { deadlineMs: number; signal: AbortSignal }): Promise<boolean>
  /** Resolves true when every edge has nothing of it in flight, and lets what comes wait and wake its host. */
  doze(id: string): Promise<boolean>
}

export type LocalDeploymentDeps = {
  load: LoadDeployment
  edges: Edges
  /** Begins what need not begin at once: the start of a host. */
  later: (start: () => Promise<void>) => void
  limits: UseLimits
  log: Log
}
/**
 * `sleepAfterMs`: of deployments whose config does not say. `stuckAfterMs`: a thread that gives no sign of life for so long while it is used is
 * replaced. `useReportMs`: how often edge processes tell who is used.
 */
export type UseLimits = { sleepAfterMs: number; stuckAfterMs: number; useReportMs: number }

// A load that failed is tried again by the next request after this long, and by every comparison with the route table.
const retryAfterMs = 1_000
const defaultDrainMs = 30_000

/** One deployment on this machine, from the moment somebody wants it until the last request to it has ended in every edge process. */
export class LocalDeployment {
  readonly ref: LocalRef
  readonly #deps: LocalDeploymentDeps
  #loaded: OnThisMachine | null = null
  #loading: Promise<OnThisMachine> | null = null
  #failure: { error: AppError; at: number } | null = null
  #retiring: AbortController | null = null
  #usedAt = performance.now()
  #isDozing = false
  #holds = 0
  #isClosed = false

  constructor(ref: LocalRef, deps: LocalDeploymentDeps) {
    this.ref = ref
    this.#deps = deps
  }

  /** What is loaded at this moment, without waiting. */
  get loaded(): OnThisMachine | null {
    return this.#loaded
  }

  /** Loads it once, however many ask. Throws an AppError; a failure is remembered for a second. */
  async whenLoaded(): Promise<OnThisMachine> {
    if (this.#isClosed) throw new AppError('DEPLOYMENT_STATE', `deployment ${this.ref.id} is no longer served here`)
    if (this.#loaded) return this.#loaded
    if (this.#loading) return this.#loading
    if (this.#failure && performance.now() - this.#failure.at < retryAfterMs) throw this.#failure.error
    this.#loading = this.#loadOnce()
    return this.#loading
  }

  /** What an edge process must know of it; null while it is not loaded, and when it is closed. */
  told(): ToEdge | null {
    if (!this.#loaded || this.#isClosed) return null
    const { id, version, appId, environment, label } = this.ref
    const { manifestPath, host } = this.#loaded
    return {
      type: 'loaded',
      ref: { id, version, appId, environment, label },
      manifestPath,
      host: host?.state() ?? null,
    }
  }

  /** What the registry is told of its host; null: it has none. */
  report(): HostReport | null {
    const state = this.#loaded?.host?.state()
    if (!state || state.is === 'stopped') return null
    const isUp = state.is === 'up'
    return { deploymentId: this.ref.id, state: isUp ? 'awake' : state.is, isolates: isUp ? state.sockets.length : 0 }
  }

  /** There was a request in some edge process, or is. */
  used(): void {
    this.#usedAt = performance.now()
  }

  /** Keeps its host awake while the task lasts. */
  async awake<Result>(task: () => Promise<Result>): Promise<Result> {
    this.#holds++
    try {
      return await task()
    } finally {
      this.#holds--
      this.used()
    }
  }

  /** Starts its host, if it is asleep or about to be. */
  wake(): void {
    this.used()
    const host = this.#loaded?.host
    if (!host) return
    if (this.#isDozing) this.#deps.edges.tell({ type: 'host', id: this.ref.id, state: host.state() })
    this.#isDozing = false
    host.wake()
  }

  /** Puts its host to sleep when nobody has used it for as long as it says, or may stay awake for ever. */
  async sleepIfIdle(): Promise<void> {
    const host = this.#loaded?.host
    const afterMs = this.#sleepAfterMs()
    if (!host || afterMs === null || this.#holds > 0 || performance.now() - this.#usedAt < afterMs) return
    const { is } = host.state()
    if ((is !== 'up' && is !== 'crashed') || this.#isDozing || this.#retiring || this.#isClosed) return
    this.#isDozing = true
    const isIdle = await this.#deps.edges.doze(this.ref.id)
    // Woken meanwhile, or no longer wanted at all.
    if (!this.#isDozing || this.#isClosed) return
    this.#isDozing = false
    const minutes = Math.round(afterMs / 60_000)
    if (isIdle && host.sleep(`went to sleep after ${minutes} idle minutes`)) return
    this.used()
    this.#deps.edges.tell({ type: 'host', id: this.ref.id, state: host.state() })
  }

  /** Sees that its host gives signs of life while requests wait for it. */
  checkAlive(): void {
    const { stuckAfterMs, useReportMs } = this.#deps.limits
    const isUsed = performance.now() - this.#usedAt <= 3 * useReportMs
    if (isUsed) this.#loaded?.host?.checkAlive(stuckAfterMs)
    else this.#loaded?.host?.shrink()
  }

  /** Somebody wants it again: a drain under way is called off. False: it is closed already. */
  keep(): boolean {
    this.#retiring?.abort()
    this.#retiring = null
    return !this.#isClosed
  }

  /** Nobody wants it any more: lets in-flight requests end, then stops its host. False: it was wanted again meanwhile. */
  async retire(): Promise<boolean> {
    if (this.#retiring || this.#isClosed) return false
    const retiring = new AbortController()
    this.#retiring = retiring
    const limitSec = this.#loaded?.manifest.drain_timeout_sec
    const deadlineMs = limitSec === undefined ? defaultDrainMs : limitSec * 1000
    const isDrained = await this.#deps.edges.drain(this.ref.id, { deadlineMs, signal: retiring.signal })
    if (retiring.signal.aborted) return false
    if (!isDrained) this.#deps.log.warn({ deployment: this.ref.id }, 'drain deadline passed')
    // Before its host ends, which takes seconds: wanted again meanwhile it is told anew, and none of this one's words come after that.
    this.#deps.edges.tell({ type: 'gone', id: this.ref.id })
    await this.close()
    return true
  }

  /** Stops the host now. */
  async close(): Promise<void> {
    this.#isClosed = true
    // A load that failed was logged there, and has left nothing to stop.
    const loaded = this.#loaded ?? (await this.#loading?.catch(() => null))
    await loaded?.host?.stop()
  }

  // Null: it is not put to sleep. A server may keep in memory what nobody wants to lose; a fetch app is not meant to.
  #sleepAfterMs(): number | null {
    const { kind, sleep_after_min: minutes } = this.#loaded?.manifest ?? {}
    if (minutes === false || kind === undefined) return null
    if (typeof minutes === 'number') return minutes * 60_000
    return kind === 'fetch' || this.ref.environment === 'preview' ? this.#deps.limits.sleepAfterMs : null
  }

  #pass(message: ToEdge): void {
    // The time before it was up is nobody's idleness.
    if (message.type === 'host' && message.state.is === 'up') this.used()
    if (this.#loaded) this.#tell(message)
  }

  #tell(message: ToEdge): void {
    if (!this.#isClosed) this.#deps.edges.tell(message)
  }

  async #loadOnce(): Promise<OnThisMachine> {
    const { load, log } = this.#deps
    const { id, appId } = this.ref
    try {
      this.#loaded = await load(this.ref, (message) => this.#pass(message))
      this.#failure = null
      const message = this.told()
      if (message) this.#tell(message)
      const { host } = this.#loaded
      // What may sleep is started by whoever needs it first.
      if (host && this.#sleepAfterMs() === null) this.#deps.later(() => host.started())
      return this.#loaded
    } catch (thrown) {
      const error = toAppError(thrown)
      this.#failure = { error, at: performance.now() }
      log.error({ deployment: id, app: appId, err: error }, 'deployment cannot be loaded')
      this.#tell({ type: 'failed', id, error: { code: error.code, message: error.message } })
      throw error
    } finally {
      this.#loading = null
    }
  }
}
