import { lookup } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import type { EgressRule } from '../../registry/config.ts'
import { AppError, messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { AllowedRange, AppRules } from './app-network-rules.ts'
import type { NetworkNamespace, NetworkState } from './network.ts'
import { PastaUplink } from './pasta-uplink.ts'
import type { ConnectedNamespace, Uplink } from './uplink.ts'
import { VethUplink } from './veth-uplink.ts'

/** The network of one host of an app. */
export type AppNetwork = {
  /** Both undefined: the host's own network. */
  namespace?: NetworkNamespace
  resolvers?: string[]
  /** When no process of the host is left. */
  release(): void
}

export type AppNetworksDeps = { egressAllow: readonly EgressRule[]; log: Log }

const checkEveryMs = 10_000
const spareAfterMs = 300

/**
 * Networks for the hosts of apps: each has its own, with the public internet and what ATELIER_EGRESS_ALLOW names, and neither private
 * addresses nor this host nor another app. One is ready before it is asked for. Where that cannot be had, apps are in the host's network,
 * and `state` says why.
 */
export class AppNetworks {
  readonly state: NetworkState
  readonly #uplink: Uplink | null
  readonly #deps: AppNetworksDeps
  readonly #open = new Set<ConnectedNamespace>()
  readonly #spare: Promise<ConnectedNamespace>[] = []
  readonly #closing = new Set<Promise<void>>()
  readonly #timer: NodeJS.Timeout | null
  #rules: AppRules
  #checking: Promise<void> = Promise.resolve()
  #isClosed = false

  /** Never throws. Making the first takes 20 ms as root, 100 ms as an ordinary user. */
  static async open(deps: AppNetworksDeps): Promise<AppNetworks> {
    try {
      const allowed = await resolveRules(deps.egressAllow)
      const empty: AppRules = { resolvers: [], allowed, own: ownIpv4() }
      const uplink = await openUplink(empty)
      const rules = { ...empty, resolvers: uplink.resolvers }
      const networks = new AppNetworks({ kind: 'filtered' }, uplink, rules, deps)
      networks.#spare.push(networks.#make())
      await networks.#spare[0]
      networks.#checking = networks.#warn()
      return networks
    } catch (thrown) {
      const reason = messageOf(thrown)
      deps.log.warn(
        { reason },
        'apps are in the host’s network: private addresses and this machine’s ports are open to them',
      )
      return new AppNetworks({ kind: 'open', reason }, null, { resolvers: [], allowed: [], own: [] }, deps)
    }
  }

  private constructor(state: NetworkState, uplink: Uplink | null, rules: AppRules, deps: AppNetworksDeps) {
    this.state = state
    this.#uplink = uplink
    this.#rules = rules
    this.#deps = deps
    this.#timer = uplink ? setInterval(() => this.#checkSoon(), checkEveryMs).unref() : null
  }

  /** Starts a host in a network of its own, which goes when nothing of the host is left. Throws as `lease` and `start` do. */
  async start<Host extends { exited: Promise<unknown> }>(
    start: (network: { network?: NetworkNamespace; resolvers?: string[] }) => Promise<Host>,
  ): Promise<Host> {
    const { namespace, resolvers, release } = await this.lease()
    try {
      const host = await start({ network: namespace, resolvers })
      host.exited.then(release, release)
      return host
    } catch (thrown) {
      release()
      throw thrown
    }
  }

  /** Throws SANDBOX_FAILED: where networks can be had, no app is started without. */
  async lease(): Promise<AppNetwork> {
    if (!this.#uplink) return { release: () => undefined }
    try {
      const making = this.#spare.pop() ?? this.#make()
      const made = await making
      // Starting a program takes a few milliseconds of this process, which the host that is starting now needs itself.
      setTimeout(() => this.#makeSpare(), spareAfterMs).unref()
      return { namespace: made.namespace, resolvers: this.#rules.resolvers, release: () => this.#release(made) }
    } catch (cause) {
      throw new AppError('SANDBOX_FAILED', `no network can be made for the app: ${messageOf(cause)}`, { cause })
    }
  }

  /** Sentences for people about what on this host keeps apps from the internet. */
  async warnings(): Promise<string[]> {
    return this.#uplink?.warnings() ?? []
  }

  /** Looks at the host's addresses and rules and the names of ATELIER_EGRESS_ALLOW again; done every 10 s by itself. */
  async refresh(): Promise<void> {
    if (!this.#uplink || this.#isClosed) return
    const { egressAllow } = this.#deps
    const rules: AppRules = {
      ...this.#rules,
      allowed: await resolveRules(egressAllow, this.#rules.allowed),
      own: ownIpv4(),
    }
    await this.#uplink.check()
    if (JSON.stringify(rules) === JSON.stringify(this.#rules)) return
    this.#rules = rules
    await this.#uplink.setRules(rules)
    for (const made of this.#open) await made.setRules(rules)
  }

  /** Takes away all that was made; to be called when no app runs any more. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#timer) clearInterval(this.#timer)
    await this.#checking
    await Promise.allSettled(this.#spare.splice(0))
    for (const made of this.#open) this.#release(made)
    await Promise.all(this.#closing)
    await this.#uplink?.close()
  }

  async #make(): Promise<ConnectedNamespace> {
    const uplink = this.#uplink
    if (!uplink || this.#isClosed) throw new Error('the networks are closed')
    const rules = this.#rules
    const made = await uplink.make(rules)
    this.#open.add(made)
    if (rules !== this.#rules) await made.setRules(this.#rules)
    return made
  }

  #makeSpare(): void {
    if (this.#isClosed || this.#spare.length > 0) return
    const making = this.#make()
    this.#spare.push(making)
    making.catch((err: unknown) => {
      // Whoever asks next tries anew, and is told.
      const at = this.#spare.indexOf(making)
      if (at >= 0) this.#spare.splice(at, 1)
      if (!this.#isClosed) this.#deps.log.warn({ err }, 'network for an app not made')
    })
  }

  #release(made: ConnectedNamespace): void {
    if (!this.#open.delete(made)) return
    const closing = made
      .close()
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'network of an app not closed'))
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  async #warn(): Promise<void> {
    try {
      for (const warning of await this.warnings()) this.#deps.log.warn(warning)
    } catch (err) {
      this.#deps.log.warn({ err }, 'the firewall of this host cannot be read')
    }
  }

  #checkSoon(): void {
    this.#checking = this.#checking
      .then(() => this.refresh())
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'networks of apps not checked'))
  }
}

async function openUplink(rules: AppRules): Promise<Uplink> {
  if (process.platform !== 'linux') throw new Error(`${process.platform} has no network namespaces`)
  return process.getuid?.() === 0 ? VethUplink.open(rules) : PastaUplink.open()
}

// A name that does not resolve now keeps what it had.
async function resolveRules(rules: readonly EgressRule[], before: AllowedRange[] = []): Promise<AllowedRange[]> {
  const found = await Promise.all(
    rules.map(async (rule): Promise<AllowedRange[]> => {
      if (rule.kind === 'suffix') return []
      if (rule.kind === 'network')
        return rule.family === 'ipv4' ? [{ range: `${rule.address}/${rule.prefix}`, port: rule.port }] : []
      const addresses = await lookup(rule.host, { all: true, family: 4 }).catch(() => null)
      if (!addresses) return before.filter(({ host }) => host === rule.host)
      return addresses
        .map(({ address }) => ({ range: address, port: rule.port, host: rule.host }))
        .sort((one, other) => one.range.localeCompare(other.range))
    }),
  )
  return found.flat()
}

function ownIpv4(): string[] {
  const all = Object.entries(networkInterfaces()).flatMap(([name, found]) =>
    name.startsWith('atl') ? [] : (found ?? []),
  )
  return all
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address)
    .sort()
}
