import { FileStore } from '../../registry/bundle-store/file.ts'
import { AppError, ERRORS, toAppError } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { Purge } from '../../registry/purges.ts'
import { BlobFiles } from '../bundles/blob-files.ts'
import { CopiedStore } from '../bundles/copied-store.ts'
import type { EdgeSettings, FromEdge, ListenOn, SentError, ToEdge } from '../edge-messages.ts'
import { HostView } from './app/host-view.ts'
import { Upgrades } from './app/upgrades.ts'
import { CachedApps } from './cache/cached-app.ts'
import { ResponseCache } from './cache/response-cache.ts'
import { ControlPlane } from './control-plane.ts'
import { Counting } from './counting/counting.ts'
import { Deployments } from './deployments.ts'
import { Edge } from './edge.ts'
import { freedMemory } from './freed-memory.ts'
import { Listener } from './listener.ts'
import { Pins } from './pins.ts'
import { PreviewGate } from './preview-gate.ts'
import { QuietMemory } from './quiet-memory.ts'
import { RouteTable, refOf } from './route-table.ts'
import { StallWatch } from './stall-watch.ts'
import { RetainedAssets } from './static/retained-assets.ts'
import { TrustedProxies } from './trusted-proxies.ts'
import { Visitors } from './visitors.ts'

/** Everything in one edge process. What it knows it was told by the main process; it has no database, not the platform's key and no app's secrets. */
export class ServingEdge {
  readonly #settings: EdgeSettings
  readonly #send: (message: FromEdge) => void
  readonly #log: Log
  readonly #table: RouteTable
  readonly #deployments: Deployments
  readonly #cache: ResponseCache
  readonly #retained: RetainedAssets
  readonly #store: CopiedStore | null
  readonly #stalls: StallWatch
  readonly #trusted: TrustedProxies
  readonly #counting: Counting
  readonly #pins: Pins
  readonly #edge: Edge
  readonly #useReport: NodeJS.Timeout
  readonly #memory: QuietMemory
  #listener: Listener | null = null

  constructor(settings: EdgeSettings, { send, log }: { send: (message: FromEdge) => void; log: Log }) {
    const { storeDirectory, blobsDirectory, appsDomain, limits } = settings
    this.#settings = settings
    this.#send = send
    this.#log = log
    this.#table = new RouteTable(settings)
    this.#store = storeDirectory === null ? new CopiedStore(blobsDirectory, { send }) : null
    const blobs = new BlobFiles(this.#store ?? new FileStore(storeDirectory ?? ''), blobsDirectory)
    this.#retained = new RetainedAssets({ log })
    this.#deployments = new Deployments({
      blobs,
      retained: this.#retained,
      log,
      want: (id) => send({ type: 'want', id }),
    })
    this.#cache = new ResponseCache(settings.responseCache)
    this.#stalls = new StallWatch(limits)
    this.#trusted = new TrustedProxies(settings.trustedProxies)
    this.#counting = new Counting({ send })
    this.#pins = new Pins({ probeToken: settings.probeToken, send })
    this.#edge = new Edge({
      table: this.#table,
      deployments: this.#deployments,
      apps: new CachedApps(this.#cache),
      controlPlane: new ControlPlane(settings, { log }),
      upgrades: new Upgrades({ cookieSuffix: appsDomain }),
      stalls: this.#stalls,
      visitors: new Visitors(settings.visitorKey),
      counting: this.#counting,
      pins: this.#pins,
      gate: new PreviewGate({ trusted: this.#trusted }),
      trusted: this.#trusted,
      appsDomain,
      limits,
      log,
    })
    this.#useReport = setInterval(() => this.#reportUse(), limits.useReportMs)
    this.#memory = new QuietMemory(freedMemory(log))
  }

  /** Takes a message. What must not be overtaken by the next one is done when it returns. */
  hear(message: Exclude<ToEdge, { type: 'begin' }>): void {
    switch (message.type) {
      case 'listen':
        void this.#listen(message)
        return
      case 'routes':
        this.#table.apply(message)
        this.#counting.follow(message)
        this.#send({ type: 'seen', order: message.order })
        this.#warm(message)
        return
      case 'purge':
        if (message.purges === null) this.#cache.clear()
        else for (const purge of message.purges) this.#purge(purge)
        this.#send({ type: 'seen', order: message.order })
        return
      case 'loaded': {
        const wake = () => this.#send({ type: 'wake', id: message.ref.id })
        const host = message.host && new HostView(this.#settings.limits, { wake })
        if (message.host) host?.become(message.host)
        this.#deployments.want(message.ref).learn({ manifestPath: message.manifestPath, host })
        return
      }
      case 'retained':
        this.#retained.tell(message.routeId, message.bundles)
        return
      case 'encoded':
        void this.#deployments.find(message.id)?.takeBetterForms()
        return
      case 'failed':
        this.#deployments.find(message.id)?.fail(errorFrom(message.error))
        return
      case 'host':
        this.#deployments.find(message.id)?.host?.become(message.state)
        return
      case 'retire':
        void this.#retire(message)
        return
      case 'keep':
        this.#deployments.find(message.id)?.keep()
        return
      case 'doze': {
        const isIdle = this.#deployments.find(message.id)?.doze() ?? true
        this.#send({ type: 'dozed', id: message.id, turn: message.turn, isIdle })
        return
      }
      case 'gone':
        this.#deployments.forget(message.id)
        this.#cache.drop(message.id)
        return
      case 'brought':
        this.#store?.brought(message.digest, message.error && errorFrom(message.error))
        return
      case 'reported':
        this.#counting.acknowledge(message)
        return
      case 'failures':
        this.#counting.hearOfFailures(message)
        return
      case 'pinned':
        this.#pins.hear(message)
        return
      case 'ping':
        this.#send({ type: 'pong' })
        return
      case 'close':
        void this.#close(message.deadlineMs)
    }
  }

  #purge(purge: Purge): void {
    const answers = this.#cache.purge(purge)
    this.#log.debug({ app: purge.app, answers }, 'purged')
  }

  async #listen(where: ListenOn): Promise<void> {
    try {
      this.#listener = await Listener.open(this.#edge, where, {
        limits: this.#settings.limits,
        trusted: this.#trusted,
        log: this.#log,
      })
      this.#send({ type: 'serves', port: this.#listener.port })
    } catch (thrown) {
      const { code, message } = toAppError(thrown)
      this.#send({ type: 'refused', error: { code, message } })
    }
  }

  // So that the first request after a flip does not wait for a manifest. At the start of this process there may be thousands that nobody
  // asks for.
  #warm({ changed }: ToEdge & { type: 'routes' }): void {
    if (!this.#listener) return
    for (const route of changed) {
      for (const routed of [route.live, route.candidate]) {
        const deployment = routed && this.#deployments.want(refOf(route, routed))
        deployment?.whenLoaded().catch((thrown: unknown) => this.#log.debug({ err: thrown }, 'not loaded ahead'))
      }
    }
  }

  async #retire({ id, turn, deadlineMs }: ToEdge & { type: 'retire' }): Promise<void> {
    const deployment = this.#deployments.find(id)
    const ended = deployment ? await deployment.retire(deadlineMs) : { isCut: false }
    if (ended) this.#send({ type: 'drained', id, turn, isCut: ended.isCut })
  }

  #reportUse(): void {
    const ids = this.#deployments.used()
    if (ids.length > 0) this.#send({ type: 'used', ids })
  }

  async #close(deadlineMs: number): Promise<void> {
    await this.#listener?.close(deadlineMs)
    this.#counting.close()
    this.#stalls.close()
    this.#memory.close()
    clearInterval(this.#useReport)
    process.disconnect?.()
  }
}

function errorFrom({ code, message }: SentError): AppError {
  return new AppError(isErrorCode(code) ? code : 'INTERNAL', message)
}

function isErrorCode(code: string): code is keyof typeof ERRORS {
  return code in ERRORS
}
