import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Config } from '../registry/config.ts'
import { Egress } from '../registry/egress/egress.ts'
import { readHostProxy } from '../registry/egress/host-proxy.ts'
import { forPlatform } from '../registry/egress/outbound-http.ts'
import { BuildNetworks } from '../sandbox/network/build-network.ts'
import { EgressRelay } from '../sandbox/network/egress-proxy.ts'
import type { NetworkNamespace } from '../sandbox/network/network.ts'

/** What a git that fetches has of the network: a proxy, and nothing else where there are namespaces. */
export type GitNetwork = { namespace: NetworkNamespace | null; proxy: string; release(): Promise<void> }

/**
 * The ways to git hosts that people name: to the public internet and to what ATELIER_OUTBOUND_ALLOW names, judged by the address of each connection.
 * Where no namespace is to be had git is in the host's network and told of the same proxy there; it makes no connection around it.
 */
export class GitNetworks {
  readonly #egress: Egress
  readonly #networks: BuildNetworks

  constructor({ outboundAllow }: Pick<Config, 'outboundAllow'>) {
    const settings = () => ({ rules: outboundAllow, hostProxy: readHostProxy(process.env) })
    this.#egress = new Egress({ settings, user: forPlatform })
    this.#networks = new BuildNetworks({ egress: this.#egress })
  }

  /** `onRefusal` is told what was not reached, a sentence each. */
  async lease(onRefusal: (sentence: string) => void): Promise<GitNetwork> {
    const { namespace, proxy, release } = await this.#networks.lease(onRefusal)
    if (proxy !== null) return { namespace, proxy, release: async () => release() }
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const relay = new EgressRelay(server, { egress: this.#egress })
    relay.begin(onRefusal)
    return { namespace: null, proxy: `http://127.0.0.1:${port}`, release: () => relay.close() }
  }

  async close(): Promise<void> {
    await this.#networks.close()
  }
}
