import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import type { Network } from '../../registry/config.ts'
import { type Forwarding, peerAddress } from './app/request-headers.ts'

/** The proxies that stand before this one by its owner's will: what they say of a client and its protocol is believed. */
export class TrustedProxies {
  readonly #networks = new BlockList()
  readonly #isEmpty: boolean

  constructor(networks: readonly Network[]) {
    this.#isEmpty = networks.length === 0
    for (const { address, prefix, family } of networks) this.#networks.addSubnet(address, prefix, family)
  }

  has(address: string): boolean {
    return !this.#isEmpty && this.#networks.check(address, address.includes(':') ? 'ipv6' : 'ipv4')
  }

  /** Whom a request comes from. Without a trusted proxy in front that is the peer, whatever the headers say. */
  forwardingOf(request: IncomingMessage): Forwarding {
    const peer = peerAddress(request.socket)
    const host = request.headers.host ?? ''
    if (!this.has(peer)) return { clientAddress: peer, host, protocol: 'http', isVouchedFor: false }
    const protocol = lastOf(request.headers['x-forwarded-proto'])?.toLowerCase() === 'https' ? 'https' : 'http'
    return { clientAddress: this.#behind(peer, request.headers['x-forwarded-for']), host, protocol, isVouchedFor: true }
  }

  // From the right, for each proxy appends whom it sees: the first that is none of ours is the client. What is left of it anybody may
  // have written.
  #behind(peer: string, forwardedFor: string | string[] | undefined): string {
    let client = peer
    for (const entry of String(forwardedFor ?? '')
      .split(',')
      .reverse()) {
      const address = addressIn(entry.trim())
      if (address === null || !this.has(client)) break
      client = address
    }
    return client
  }
}

function lastOf(value: string | string[] | undefined): string | undefined {
  return value === undefined ? undefined : String(value).split(',').at(-1)?.trim()
}

// `10.0.0.1`, `10.0.0.1:1234`, `fd00::1`, `[fd00::1]:1234`, `::ffff:10.0.0.1`.
function addressIn(entry: string): string | null {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(entry)?.[1] ?? /^([^:]+):\d+$/.exec(entry)?.[1] ?? entry
  const address = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1] ?? bare
  return isIP(address) === 0 || address.includes('%') ? null : address
}
