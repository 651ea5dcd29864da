import { lookup, Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { type BlockList, connect, isIP, type Socket, type TcpNetConnectOpts } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { EgressRule } from '../config.ts'
import { codeOf, messageOf } from '../errors.ts'
import { ownAddresses, refusalOf } from './address-policy.ts'
import { EgressRules, type Place } from './egress-rules.ts'
import { connectThrough, type HostProxy } from './host-proxy.ts'

export type { Place } from './egress-rules.ts'

/** Why a place is not reached, as a sentence for people, and the HTTP status that says the same. */
export class EgressRefused extends Error {
  readonly status: 403 | 502 | 504

  constructor(status: EgressRefused['status'], message: string) {
    super(message)
    this.name = 'EgressRefused'
    this.status = status
  }
}

/** What may be reached beyond the public internet, and how. */
export type EgressSettings = { rules: readonly EgressRule[]; hostProxy: HostProxy }

/** For whom it is: what `ports` are open without a rule, and what an operator does about a refusal, in words. */
export type EgressUser = { ports: 'web' | 'any'; whatToSet: string }

export const forBuilds: EgressUser = {
  ports: 'web',
  whatToSet: 'to let builds reach it, name it in ATELIER_EGRESS_ALLOW on the server',
}

export type EgressDeps = {
  /** Asked for each connection. */
  settings: () => EgressSettings | Promise<EgressSettings>
  /** Default: builds. */
  user?: EgressUser
  /** Addresses of a name by DNS alone; may be replaced where there is no DNS. */
  resolve?: (name: string) => Promise<string[]>
  own?: () => BlockList
  /** Opens the connections; may be replaced where none may leave the machine. */
  open?: (addresses: string[], options: TcpNetConnectOpts) => Socket
}

/** The ports of the web; others are reached by a rule that names them, or names none. */
const webPorts = [80, 443]
const connectTimeoutMs = 10_000

/** The one way from a build, and from the platform where people say whom to call, to the world: to addresses on the public internet, and to what the rules let through. */
export class Egress {
  readonly #settings: EgressDeps['settings']
  readonly #user: EgressUser
  readonly #resolve: (name: string) => Promise<string[]>
  readonly #own: () => BlockList
  readonly #open: NonNullable<EgressDeps['open']>

  constructor({ settings, user = forBuilds, resolve = resolveByDns, own = ownAddresses, open = openTo }: EgressDeps) {
    this.#settings = settings
    this.#user = user
    this.#resolve = resolve
    this.#own = own
    this.#open = open
  }

  /**
   * Connects to a place. Its name is resolved once, every address is checked, and one that was checked is connected to: a name that
   * answers something else a moment later gains nothing. `host` is a name in lower case or an address without brackets. Throws EgressRefused.
   */
  async dial(place: Place, signal: AbortSignal): Promise<Socket> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)])
    try {
      const { rules, hostProxy } = await this.#settings()
      const proxy = hostProxy.for(place.host, place.port)
      const addresses = await this.#checked(place, new EgressRules(rules), proxy !== null)
      if (proxy) return await connectThrough(proxy, place, within)
      return await connectTo(addresses, { port: place.port, open: this.#open, signal: within })
    } catch (thrown) {
      throw asRefusal(place, thrown)
    }
  }

  // Behind a proxy of the host, names may not resolve here at all; then the proxy's own rules are what holds.
  async #checked(place: Place, rules: EgressRules, isProxied: boolean): Promise<string[]> {
    const { host, port } = place
    const isTrusted = rules.allowName(place)
    const isAddress = isIP(host) !== 0
    const addresses = isAddress ? [host] : await this.#addressesOf(host, isTrusted, isProxied)
    const own = this.#own()
    const refusals = addresses.map((address) =>
      isTrusted || rules.allowAddress(address, port) ? null : whyNot(address, port, own, this.#user),
    )
    const passed = addresses.filter((_, at) => refusals[at] === null)
    if (passed.length > 0 || (isProxied && !isAddress && addresses.length === 0)) return passed
    const address = isAddress || addresses.length === 0 ? '' : ` (${addresses[0]})`
    throw new EgressRefused(
      403,
      `${shown(place)}${address} ${refusals[0] ?? 'has no address'}; ${this.#user.whatToSet}`,
    )
  }

  // Names of the rules are the operator's: they may stand in /etc/hosts, end in a search domain, come from anywhere the host's own
  // programs have theirs. All others are asked of DNS alone: the host's resolver takes one of few threads for each, and a build that
  // asks for many names that never answer would stop everything else.
  async #addressesOf(name: string, isTrusted: boolean, isProxied: boolean): Promise<string[]> {
    try {
      if (isTrusted) return (await lookup(name, { all: true })).map(({ address }) => address)
      return await this.#resolve(name)
    } catch (thrown) {
      if (isProxied) return []
      throw thrown
    }
  }
}

/**
 * Why a place is not reached by any way, as far as that is known without asking for its name: of an address as it stands. Null: it is a name, or
 * may be reached. A sentence for people.
 */
export function refusalOfLiteral(place: Place, rules: readonly EgressRule[], user: EgressUser): string | null {
  const known = new EgressRules(rules)
  if (isIP(place.host) === 0 || known.allowName(place) || known.allowAddress(place.host, place.port)) return null
  const why = whyNot(place.host, place.port, ownAddresses(), user)
  return why && `${shown(place)} ${why}; ${user.whatToSet}`
}

function whyNot(address: string, port: number, own: BlockList, { ports }: EgressUser): string | null {
  const what = refusalOf(address, own)
  if (what) return `is ${what}`
  return ports === 'any' || webPorts.includes(port) ? null : 'is on a port other than 80 and 443'
}

const openTo: NonNullable<EgressDeps['open']> = (_addresses, options) => connect(options)

type Opening = { port: number; open: NonNullable<EgressDeps['open']>; signal: AbortSignal }

async function connectTo(addresses: string[], { port, open, signal }: Opening): Promise<Socket> {
  const found = addresses.map((address) => ({ address, family: isIP(address) }))
  const socket = open(addresses, {
    host: 'checked.invalid',
    port,
    lookup: (_name, _options, done) => done(null, found),
    autoSelectFamily: true,
    noDelay: true,
    keepAlive: true,
  })
  const onAbort = () => socket.destroy(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) onAbort()
    await once(socket, 'connect')
    const to = socket.remoteAddress ?? ''
    if (addresses.includes(to)) return socket
    socket.destroy()
    throw new EgressRefused(502, `a connection went to ${to}, which was not asked for`)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function resolveByDns(name: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: 2000, tries: 2 })
  const asked = [resolver.resolve4(name), ...(hasIpv6() ? [resolver.resolve6(name)] : [])]
  const answers = await Promise.allSettled(asked)
  const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
  const [first] = answers
  if (addresses.length === 0 && first?.status === 'rejected') throw first.reason
  return addresses
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces())
    .flatMap((found) => found ?? [])
    .some(({ family, internal, address }) => family === 'IPv6' && !internal && !address.startsWith('fe80:'))
}

function asRefusal(place: Place, thrown: unknown): EgressRefused {
  if (thrown instanceof EgressRefused) return thrown
  const code = codeOf(thrown)
  if (code === 'ENOTFOUND' || code === 'ENODATA')
    return new EgressRefused(502, `${shown(place)} is not found: DNS has no such name`)
  if (thrown instanceof Error && thrown.name === 'TimeoutError')
    return new EgressRefused(504, `${shown(place)} did not answer within ${connectTimeoutMs / 1000} s`)
  return new EgressRefused(502, `${shown(place)} cannot be reached: ${code ?? messageOf(thrown)}`)
}

function shown({ host, port }: Place): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
