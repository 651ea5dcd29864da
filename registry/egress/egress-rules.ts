import { BlockList, isIP } from 'node:net'
import type { EgressRule } from '../config.ts'

export type Place = { host: string; port: number }

/** Where a URL leads. The URL parser has turned every spelling of an address (0x7f.1, 2130706433) into the usual one by then. */
export function placeOf(url: URL): Place {
  return { host: bareHost(url.hostname), port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)) }
}

/** A URL's host name without brackets, and without the dot at the end of a name. */
export function bareHost(hostname: string): string {
  const host = hostname.replace(/^\[|\]$/g, '')
  return isIP(host) ? host : host.replace(/\.$/, '')
}

/** Asks rules such as those of ATELIER_EGRESS_ALLOW about a place. */
export class EgressRules {
  readonly #named: Exclude<EgressRule, { kind: 'network' }>[]
  readonly #networks: { list: BlockList; port: number | null }[]

  constructor(rules: readonly EgressRule[]) {
    this.#named = rules.filter((rule) => rule.kind !== 'network')
    this.#networks = rules
      .filter((rule) => rule.kind === 'network')
      .map(({ address, prefix, family, port }) => {
        const list = new BlockList()
        list.addSubnet(address, prefix, family)
        return { list, port }
      })
  }

  /** Whether the name itself passes, whatever it resolves to. */
  allowName({ host, port }: Place): boolean {
    return this.#named.some((rule) => {
      if (rule.port !== null && rule.port !== port) return false
      return rule.kind === 'host' ? host === rule.host : host.endsWith(`.${rule.suffix}`)
    })
  }

  /** Whether the address passes, whatever it is called. */
  allowAddress(address: string, port: number): boolean {
    const version = isIP(address)
    if (version === 0) return false
    const family = version === 4 ? 'ipv4' : 'ipv6'
    return this.#networks.some((rule) => (rule.port === null || rule.port === port) && rule.list.check(address, family))
  }
}
