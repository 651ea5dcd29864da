import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { EgressRule } from '../../registry/config.ts'
import { AppError, messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { AllowedRange, AppRules } from './app-network-rules.ts'
import { type DatabaseAccess, DatabaseRelay } from './database-relay.ts'
import { listenIn, type NetworkNamespace, type NetworkState } from './network.ts'
import { PastaUplink } from './pasta-uplink.ts'
import type { ConnectedNamespace, Uplink } from './uplink.ts'
import { VethUplink } from './veth-uplink.ts'

/** The network of one host of an app. */
export type AppNetwork = {
  /** Both undefined: the host's own network. */
  namespace?: NetworkNamespace
  resolvers?: string[]
  /** How a program in it finds what is brought into it: DATABASE_URL, when there is a database. */
  env: Record<string, string>
  /** When no process of the host is left. */
  release(): void
}

/** What is brought into a network. */
export type Brought = { database?: DatabaseAccess | null }

type MadeNetwork = ConnectedNamespace & { listener: Server | null }

export type AppNetworksDeps = { egressAllow: readonly EgressRule[]; log: Log }

const checkEveryMs = 10_000
const spareAfterMs = 300
/** Of the app's database, on the loopback of its own network; the customary one. */
const databasePort = 5432

/**
 * Networks for the hosts of apps: each has its own, with the public internet and what ATELIER_EGRESS_ALLOW names, and neither private
 * addresses nor this host nor another app. One is ready before it is asked for. Where that cannot be had, apps are in the host's network,
 * and `state` says why.
 */
export class AppNetworks {
  readonly state: NetworkState
  readonly #uplink: Uplink | null
  readonly #deps: AppNetworksDeps
  readonly #open = new Set<MadeNetwork>()
  readonly #spare: Promise<MadeNetwork>[] = []
  readonly #closing = new Set<Promise<void>>()
  readonly #timer: NodeJS.Timeout | null
  #rules: AppRules
  #checking: Promise<void> = Promise.resolve()
  #isClosed = false
  /** Somebody here has a database: what is made ahead is made with the socket for one. */
  #listensAhead = false

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

  /**
   * Starts a host in a network of its own, which goes when nothing of the host is left; `env` is how it finds what is brought in. Throws as `lease` and
   * `start` do.
   */
  async start<Host extends { exited: Promise<unknown> }>(
    start: (
      network: { network?: NetworkNamespace; resolvers?: string[] },
      env: Record<string, string>,
    ) => Promise<Host>,
    brought: Brought = {},
  ): Promise<Host> {
    const { namespace, resolvers, env, release } = await this.lease(brought)
    try {
      const host = await start({ network: namespace, resolvers }, env)
      host.exited.then(release, release)
      return host
    } catch (thrown) {
      release()
      throw thrown
    }
  }

  /** Throws SANDBOX_FAILED: where networks can be had, no app is started without. */
  async lease({ database = null }: Brought = {}): Promise<AppNetwork> {
    if (!this.#uplink) return onHost(database)
    this.#listensAhead ||= database !== null
    try {
      const making = this.#spare.pop() ?? this.#make()
      const made = await making
      // Starting a program takes a few milliseconds of this process, which the host that is starting now needs itself.
      setTimeout(() => this.#makeSpare(), spareAfterMs).unref()
      const relay = await this.#bring(made, database)
      return {
        namespace: made.namespace,
        resolvers: this.#rules.resolvers,
        env: relay && database ? { DATABASE_URL: urlOf(database, databasePort) } : {},
        release: () => {
          relay?.close()
          this.#release(made)
        },
      }
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

  // What was made with a socket nobody needs is left without.
  async #bring(made: MadeNetwork, database: DatabaseAccess | null): Promise<DatabaseRelay | null> {
    try {
      if (database) made.listener ??= await listenIn(made.namespace, databasePort)
      else made.listener?.close()
    } catch (thrown) {
      this.#release(made)
      throw thrown
    }
    return database && made.listener ? new DatabaseRelay(made.listener, database) : null
  }

  async #make(): Promise<MadeNetwork> {
    const uplink = this.#uplink
    if (!uplink || this.#isClosed) throw new Error('the networks are closed')
    const rules = this.#rules
    const made: MadeNetwork = { ...(await uplink.make(rules)), listener: null }
    this.#open.add(made)
    try {
      if (this.#listensAhead) made.listener = await this.#listenAhead(made)
      if (rules !== this.#rules) await made.setRules(this.#rules)
      return made
    } catch (thrown) {
      this.#release(made)
      throw thrown
    }
  }

  // Not every app has a database: one that has tries again when it is given the network, and is told.
  async #listenAhead({ namespace }: ConnectedNamespace): Promise<Server | null> {
    try {
      return await listenIn(namespace, databasePort)
    } catch (err) {
      this.#deps.log.warn({ err }, 'no socket for a database made ahead')
      return null
    }
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

  #release(made: MadeNetwork): void {
    if (!this.#open.delete(made)) return
    made.listener?.close()
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

// Without a network of its own an app shares the loopback of the machine with others, and the password is what keeps them out.
async function onHost(database: DatabaseAccess | null): Promise<AppNetwork> {
  if (!database) return { env: {}, release: () => undefined }
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const relay = new DatabaseRelay(server, database)
  return { env: { DATABASE_URL: urlOf(database, port) }, release: () => relay.close() }
}

function urlOf({ name, password }: DatabaseAccess, port: number): string {
  return `postgres://${name}:${encodeURIComponent(password)}@127.0.0.1:${port}/${name}`
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
