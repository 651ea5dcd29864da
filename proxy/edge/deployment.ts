import { readFile } from 'node:fs/promises'
import { parseManifest } from '../../registry/bundle-store/bundles.ts'
import { withBetterForms } from '../../registry/encodings.ts'
import { toAppError } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { Manifest } from '../../registry/manifest.ts'
import { readLocalForms } from '../bundles/better-forms.ts'
import type { BlobFiles } from '../bundles/blob-files.ts'
import type { HostView } from './app/host-view.ts'
import type { Bin } from './counting/bins.ts'
import { InFlight } from './drain.ts'
import type { RetainedAssets } from './static/retained-assets.ts'
import { StaticFiles } from './static/static-files.ts'

/** A deployment and whose it is. */
export type DeploymentRef = {
  id: string
  version: string
  appId: string
  environment: 'production' | 'preview'
  label: string
}

/** What an edge process serves a deployment with. `host` is null for a static app. */
export type Loaded = { manifest: Omit<Manifest, 'files'>; files: StaticFiles; host: HostView | null }

/** That it is on this machine, as the main process tells it. */
export type Whereabouts = { manifestPath: string; host: HostView | null }

export type DeploymentDeps = {
  blobs: BlobFiles
  retained: RetainedAssets
  log: Log
  /** Tells the main process that somebody waits for it. */
  want: (id: string) => void
}

/** One deployment as an edge process has it, from the moment it is told of it until its last request has ended. */
export class Deployment {
  readonly ref: DeploymentRef
  readonly inFlight = new InFlight()
  /** Flat header pairs of every response of this deployment. */
  readonly headers: string[]
  /** What is being counted of it. */
  bin: Bin | null = null
  readonly #deps: DeploymentDeps
  #whereabouts: Whereabouts | null = null
  #told = Promise.withResolvers<Whereabouts>()
  #loaded: Loaded | null = null
  #loading: Promise<Loaded> | null = null
  #retiring: AbortController | null = null
  #counted = 0

  constructor(ref: DeploymentRef, deps: DeploymentDeps) {
    this.ref = ref
    this.#deps = deps
    this.headers = responseHeaders(ref)
  }

  /** What is loaded at this moment, without waiting. */
  get loaded(): Loaded | null {
    return this.#loaded
  }

  get host(): HostView | null {
    return this.#whereabouts?.host ?? null
  }

  /** Waits for it to be on this machine, and reads its manifest, once, however many ask. Throws an AppError. */
  async whenLoaded(): Promise<Loaded> {
    if (this.#loaded) return this.#loaded
    this.#loading ??= this.#load().finally(() => {
      this.#loading = null
    })
    return this.#loading
  }

  /** It is on this machine. */
  learn(whereabouts: Whereabouts): void {
    if (this.#whereabouts) return
    this.#whereabouts = whereabouts
    this.#told.resolve(whereabouts)
  }

  /** It could not be brought to this machine: who waits is told, and who comes next asks again. */
  fail(error: Error): void {
    if (this.#whereabouts) return
    const { reject, promise } = this.#told
    this.#told = Promise.withResolvers<Whereabouts>()
    promise.catch(() => undefined) // there may be nobody who waits
    reject(error)
  }

  /** Lets what is in flight end, and cuts what has not after `deadlineMs`. Null: called off by `keep`. */
  async retire(deadlineMs: number): Promise<{ isCut: boolean } | null> {
    this.#retiring?.abort()
    const retiring = new AbortController()
    this.#retiring = retiring
    const isDrained = await this.inFlight.drained(deadlineMs, retiring.signal)
    if (retiring.signal.aborted) return null
    if (!isDrained) {
      this.#deps.log.warn({ deployment: this.ref.id, requests: this.inFlight.count }, 'drain deadline passed')
      await this.inFlight.cut()
    }
    return { isCut: !isDrained }
  }

  /** Whether there was a request since this was last asked, or one is in flight. */
  wasUsed(): boolean {
    const isUsed = this.#isBusy || this.inFlight.begun !== this.#counted
    this.#counted = this.inFlight.begun
    return isUsed
  }

  /** Takes its host as asleep, unless something is in flight. */
  doze(): boolean {
    if (this.#isBusy) return false
    this.host?.become({ is: 'asleep' })
    return true
  }

  // What the cache asks of it is a request of nobody's.
  get #isBusy(): boolean {
    return this.inFlight.count > 0 || (this.host?.inFlight ?? 0) > 0
  }

  keep(): void {
    this.#retiring?.abort()
    this.#retiring = null
  }

  /** Its files have got better forms: from now on they are served in these. */
  async takeBetterForms(): Promise<void> {
    // Logged where it fails, and what was loaded stays.
    if (this.#loaded) await this.#load().catch(() => null)
  }

  async #load(): Promise<Loaded> {
    const { blobs, retained, log, want } = this.#deps
    if (!this.#whereabouts) want(this.ref.id)
    const { manifestPath, host } = this.#whereabouts ?? (await this.#told.promise)
    try {
      const { files: built, ...manifest } = parseManifest(await readFile(manifestPath), manifestPath)
      const better = await readLocalForms(manifestPath, { log })
      const files = better ? withBetterForms(built, better) : built
      const onError = (thrown: unknown) => log.error({ deployment: this.ref.id, err: thrown }, 'static file not served')
      this.#loaded = {
        manifest,
        files: new StaticFiles({ ...manifest, files }, { blobs, retained, headers: this.headers, onError }),
        host,
      }
      return this.#loaded
    } catch (thrown) {
      log.error({ deployment: this.ref.id, app: this.ref.appId, err: thrown }, 'manifest cannot be read')
      throw toAppError(thrown)
    }
  }
}

/** Flat header pairs of every response of a deployment. */
export function responseHeaders({ version, environment }: Pick<DeploymentRef, 'version' | 'environment'>): string[] {
  return ['x-atelier-deployment', version, ...(environment === 'preview' ? ['x-robots-tag', 'noindex'] : [])]
}
