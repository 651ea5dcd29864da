import { AppError, toAppError } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { Manifest } from '../registry/manifest.ts'
import type { RoutedDeployment } from '../registry/routes.ts'
import { InFlight } from './drain.ts'
import type { Host } from './host.ts'
import type { StaticFiles } from './static-files.ts'

/** A deployment and whose it is, as routes and preparations name it. */
export type DeploymentRef = RoutedDeployment & { appId: string; environment: 'production' | 'preview'; label: string }

/** What is on this machine and running of a deployment. `host` is null for a static app. */
export type Loaded = { manifest: Manifest; files: StaticFiles; host: Host | null }

export type LoadDeployment = (ref: DeploymentRef) => Promise<Loaded>

// A load that failed is tried again by the next request after this long, and by every comparison with the route table.
const retryAfterMs = 1_000
const defaultDrainMs = 30_000

/** One deployment on this edge, from the moment somebody wants it until its last request has ended. */
export class Deployment {
  readonly ref: DeploymentRef
  readonly inFlight = new InFlight()
  /** Flat header pairs of every response of this deployment. */
  readonly headers: string[]
  readonly #load: LoadDeployment
  readonly #log: Log
  #loaded: Loaded | null = null
  #loading: Promise<Loaded> | null = null
  #failure: { error: AppError; at: number } | null = null
  #retiring: AbortController | null = null
  #isClosed = false

  constructor(ref: DeploymentRef, { load, log }: { load: LoadDeployment; log: Log }) {
    this.ref = ref
    this.#load = load
    this.#log = log
    this.headers = responseHeaders(ref)
  }

  /** What is loaded at this moment, without waiting. */
  get loaded(): Loaded | null {
    return this.#loaded
  }

  /** Loads it once, however many ask. Throws an AppError; a failure is remembered for a second. */
  async whenLoaded(): Promise<Loaded> {
    if (this.#loaded) return this.#loaded
    if (this.#loading) return this.#loading
    if (this.#isClosed) throw new AppError('DEPLOYMENT_STATE', `deployment ${this.ref.id} is no longer served here`)
    if (this.#failure && performance.now() - this.#failure.at < retryAfterMs) throw this.#failure.error
    this.#loading = this.#loadOnce()
    return this.#loading
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
    const isDrained = await this.inFlight.drained(
      limitSec === undefined ? defaultDrainMs : limitSec * 1000,
      retiring.signal,
    )
    if (retiring.signal.aborted) return false
    if (!isDrained) {
      this.#log.warn({ deployment: this.ref.id, requests: this.inFlight.count }, 'drain deadline passed')
      this.inFlight.cut()
    }
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

  async #loadOnce(): Promise<Loaded> {
    try {
      this.#loaded = await this.#load(this.ref)
      this.#failure = null
      return this.#loaded
    } catch (thrown) {
      const error = toAppError(thrown)
      this.#failure = { error, at: performance.now() }
      this.#log.error({ deployment: this.ref.id, app: this.ref.appId, err: error }, 'deployment cannot be loaded')
      throw error
    } finally {
      this.#loading = null
    }
  }
}

/** Flat header pairs of every response of a deployment. */
export function responseHeaders({ version, environment }: Pick<DeploymentRef, 'version' | 'environment'>): string[] {
  return ['x-atelier-deployment', version, ...(environment === 'preview' ? ['x-robots-tag', 'noindex'] : [])]
}
