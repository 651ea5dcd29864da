import { isIPv6, type Socket } from 'node:net'
import type { Log } from '../../registry/log.ts'
import { peerAddress } from './app/request-headers.ts'
import type { TrustedProxies } from './trusted-proxies.ts'

const sayAgainMs = 60_000

/**
 * Keeps one client from taking every connection there is. A client is an IPv4 address, or the /64 network of an IPv6 one, for so many a
 * subscriber is given. Trusted proxies are many clients, and not counted.
 */
export class ConnectionCaps {
  readonly #most: number
  readonly #trusted: TrustedProxies
  readonly #log: Log
  readonly #held = new Map<string, number>()
  #saidAt = Number.NEGATIVE_INFINITY

  constructor(most: number, { trusted, log }: { trusted: TrustedProxies; log: Log }) {
    this.#most = most
    this.#trusted = trusted
    this.#log = log
  }

  /** Counts a connection until it closes. False: it is one too many. */
  admit(socket: Socket): boolean {
    const address = peerAddress(socket)
    // It has none when it has been reset meanwhile.
    if (address === '' || this.#trusted.has(address)) return true
    const client = isIPv6(address) ? network64(address) : address
    const held = this.#held.get(client) ?? 0
    if (held >= this.#most) {
      this.#say(client)
      return false
    }
    this.#held.set(client, held + 1)
    socket.once('close', () => this.#release(client))
    return true
  }

  #release(client: string): void {
    const left = (this.#held.get(client) ?? 1) - 1
    if (left === 0) this.#held.delete(client)
    else this.#held.set(client, left)
  }

  #say(client: string): void {
    if (performance.now() - this.#saidAt < sayAgainMs) return
    this.#saidAt = performance.now()
    const hint = 'if it is a proxy of yours, name it in ATELIER_TRUSTED_PROXIES'
    this.#log.warn({ client, connections: this.#most, hint }, 'client has too many connections')
  }
}

// `fd00::1:2:3:4` and `fd00::1` are of the same network; what `::` stands for is written out first.
function network64(address: string): string {
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const groups = head.split(':').filter(Boolean)
  const rest = tail?.split(':').filter(Boolean) ?? []
  const missing = tail === undefined ? 0 : 8 - groups.length - rest.length
  return [...groups, ...Array.from({ length: missing }, () => '0'), ...rest].slice(0, 4).join(':')
}
