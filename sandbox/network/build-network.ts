import type { Egress } from '../../registry/egress/egress.ts'
import { messageOf } from '../../registry/errors.ts'
import { createLog } from '../../registry/log.ts'
import { EgressRelay, type EgressUse, type RelaySession } from './egress-proxy.ts'
import {
  closeNamespace,
  isInUse,
  type ListeningNamespace,
  makeListeningNamespace,
  type NetworkNamespace,
  type NetworkState,
} from './network.ts'

/** The network of one build. */
export type BuildNetwork = {
  /** Null: there is none to be had, the build is in the host's network. */
  namespace: NetworkNamespace | null
  /** URL of the relay, as programs in the namespace see it. */
  proxy: string | null
  use(): EgressUse
  /** When no program of the build is left. */
  release(): void
}

/** The customary port of a proxy; the namespace has no other listener. */
const relayPort = 3128
const retryAfterMs = 60_000

type Slot = { namespace: ListeningNamespace; relay: EgressRelay }

/**
 * Network namespaces for builds, each with a relay as its only way out. Making one takes 60 ms of another process, so one is ready before
 * it is asked for, and one that nothing is left in serves the next build.
 */
export class BuildNetworks {
  readonly #egress: Egress
  readonly #make: () => Promise<ListeningNamespace>
  readonly #spare: Slot[] = []
  readonly #leased = new Set<Slot>()
  #making: Promise<Slot> | null = null
  #failed: { reason: string; at: number } | null = null
  #isClosed = false

  constructor({ egress, make = () => makeListeningNamespace(relayPort) }: BuildNetworksDeps) {
    this.#egress = egress
    this.#make = make
  }

  /** Makes one ahead, and says whether that was possible. */
  async prepare(): Promise<NetworkState> {
    try {
      if (this.#spare.length === 0) this.#spare.push(await this.#makeSlot())
      return { kind: 'filtered' }
    } catch (thrown) {
      return { kind: 'open', reason: messageOf(thrown) }
    }
  }

  /** `onRefusal` is told what the build tried to reach and was kept from, a sentence each. Never fails: see `namespace`. */
  async lease(onRefusal: (sentence: string) => void): Promise<BuildNetwork> {
    const slot = await this.#take()
    if (!slot) return { namespace: null, proxy: null, use: () => ({ received: 0, sent: 0 }), release: () => undefined }
    this.#leased.add(slot)
    const session = slot.relay.begin(onRefusal)
    const { netFd, userFd, port } = slot.namespace
    return {
      namespace: { netFd, userFd },
      proxy: `http://127.0.0.1:${port}`,
      use: session.use,
      release: () => this.#release(slot, session),
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#making?.catch(() => undefined)
    const slots = [...this.#spare.splice(0), ...this.#leased]
    this.#leased.clear()
    await Promise.all(slots.map(discard))
  }

  async #take(): Promise<Slot | null> {
    const spare = this.#spare.pop()
    if (spare) return spare
    if (this.#failed && performance.now() - this.#failed.at < retryAfterMs) return null
    try {
      return await this.#makeSlot()
    } catch (thrown) {
      createLog('sandbox').warn({ err: messageOf(thrown) }, 'no network for builds, they are in the host’s')
      return null
    }
  }

  // One at a time; whoever asks meanwhile has one made for itself.
  async #makeSlot(): Promise<Slot> {
    const making = this.#make().then(
      (namespace) => ({ namespace, relay: new EgressRelay(namespace.server, { egress: this.#egress }) }),
      (thrown: unknown) => {
        this.#failed = { reason: messageOf(thrown), at: performance.now() }
        throw thrown
      },
    )
    this.#making = making
    return making.finally(() => {
      if (this.#making === making) this.#making = null
    })
  }

  #release(slot: Slot, session: RelaySession): void {
    if (!this.#leased.delete(slot)) return
    session.end()
    if (!this.#isClosed && !isInUse(slot.namespace)) return void this.#spare.push(slot)
    discard(slot).catch((err: unknown) => createLog('sandbox').error({ err }, 'network not closed'))
  }
}

export type BuildNetworksDeps = { egress: Egress; make?: () => Promise<ListeningNamespace> }

async function discard({ namespace, relay }: Slot): Promise<void> {
  await relay.close()
  closeNamespace(namespace)
}
