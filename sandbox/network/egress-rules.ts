import { BlockList, isIP } from 'node:net'
import type { EgressRule } from '../../registry/config.ts'

export type Place = { host: string; port: number }

/** Asks the rules of ATELIER_EGRESS_ALLOW, and the package registry's, which is one of them, about a place. */
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
