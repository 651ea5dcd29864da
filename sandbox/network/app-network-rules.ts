import { privateIpv4 } from '../../registry/egress/address-policy.ts'

/** A part of IPv4, as nftables takes it, and the port that counts; null: all. */
export type AllowedRange = {
  range: string
  port: number | null
  /** The name it was found by. */
  host?: string
}

export type AppRules = {
  /** Name servers; port 53 of them may be asked. */
  resolvers: string[]
  allowed: AllowedRange[]
  /** The host's own addresses. */
  own: string[]
}

/**
 * The rules inside an app's network namespace, as `nft -f` reads them; read again, they take the place of what was there, at once. They stand
 * in the namespace itself, which the app has no rights over, so that whoever reloads the host's firewall does not take them away. What is
 * refused is refused at once, with a reset or an ICMP message. IPv6 leads nowhere.
 */
export function rulesInside({ resolvers, allowed, own }: AppRules): string {
  return table('atelier', [
    chain('output', [
      'type filter hook output priority 0; policy drop',
      'oifname "lo" accept',
      'meta nfproto ipv6 goto refused',
      ...resolvers.flatMap(dnsTo),
      ...allowed.flatMap(accepted),
      ...[...own, ...privateIpv4.map(([address, prefix]) => `${address}/${prefix}`)].map(
        (range) => `ip daddr ${range} goto refused`,
      ),
      'accept',
    ]),
    // Nobody connects to an app over its network: whatever comes in answers what went out.
    chain('input', [
      'type filter hook input priority 0; policy drop',
      'iifname "lo" accept',
      'ct state established,related accept',
    ]),
    refusedChain,
  ])
}

export type HostRules = AppRules & {
  /** `atelier_<…>`. */
  table: string
  /** Link group of this process's namespaces. */
  group: number
  /** What the addresses of all namespaces are taken from, and how all their links are called: `atl*`. */
  range: string
  links: string
}

/**
 * The rules of the host: what comes out of the namespaces is sent on under the host's address, except to each other, and to the host itself only
 * where it is allowed, whatever addresses the host has by now.
 */
export function rulesOfHost({ table: name, group, range, links, resolvers, allowed }: HostRules): string {
  return table(name, [
    chain('input', [
      'type filter hook input priority filter - 10; policy accept',
      `iifgroup != ${group} accept`,
      ...resolvers.flatMap(dnsTo),
      ...allowed.flatMap(accepted),
      'goto refused',
    ]),
    chain('forward', [
      'type filter hook forward priority filter - 10; policy accept',
      `iifgroup ${group} oifname "${links}*" goto refused`,
      `iifgroup ${group} ip saddr != ${range} drop`,
      `iifgroup ${group} meta nfproto ipv6 drop`,
      `oifgroup ${group} ct state established,related accept`,
      `oifgroup ${group} drop`,
    ]),
    chain('postrouting', [
      'type nat hook postrouting priority srcnat; policy accept',
      `ip saddr ${range} oifname != "${links}*" masquerade`,
    ]),
    refusedChain,
  ])
}

export function withoutTable(name: string): string {
  return `table inet ${name}\ndelete table inet ${name}\n`
}

const refusedChain = chainText('refused', [
  'meta l4proto tcp reject with tcp reset',
  'reject with icmpx admin-prohibited',
])

function chain(name: string, rules: string[]): string {
  return chainText(name, rules)
}

function chainText(name: string, rules: string[]): string {
  return [` chain ${name} {`, ...rules.map((rule) => `  ${rule}`), ' }'].join('\n')
}

// Made, deleted and made again in one transaction: there may be one already, and there is never none.
function table(name: string, chains: string[]): string {
  return `${withoutTable(name)}table inet ${name} {\n${chains.toReversed().join('\n')}\n}\n`
}

function dnsTo(address: string): string[] {
  return ['udp', 'tcp'].map((protocol) => `ip daddr ${address} ${protocol} dport 53 accept`)
}

function accepted({ range, port }: AllowedRange): string[] {
  if (port === null) return [`ip daddr ${range} accept`]
  return ['tcp', 'udp'].map((protocol) => `ip daddr ${range} ${protocol} dport ${port} accept`)
}
