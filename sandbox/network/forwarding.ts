import { readFileSync, writeFileSync } from 'node:fs'
import { codeOf } from '../../registry/errors.ts'
import { hostTool } from '../host-tools.ts'
import { needed, runTool } from './app-namespace.ts'
import { withoutTable } from './app-network-rules.ts'

/** How all links of app networks begin on the host, of all platforms. */
export const linkPrefix = 'atl'

const guardTable = 'atelier_guard'

/** The links that routes lead over, without our own. */
export function routeLinks(): string[] {
  return [...new Set(routes().map(({ link }) => link))]
}

/** Whether a part of IPv4 is in use: some route leads to a place in it. */
export function isRouted(address: string, prefix: number): boolean {
  const from = toNumber(address)
  const to = from + 2 ** (32 - prefix) - 1
  return routes().some(({ destination, mask }) => {
    const last = (destination | ~mask) >>> 0
    return mask !== 0 && destination <= to && last >= from
  })
}

/**
 * Lets the kernel pass on packets between our links and the links that routes lead over. Where the host forwards anyway nothing is done;
 * otherwise just these links are switched, and what they could now be misused for, a neighbour sending packets through this host, is
 * dropped by a table of its own. Safe to call again and from several processes.
 */
export async function ensureForwarding(): Promise<void> {
  if (readSetting('ip_forward') === '1') return
  const closed = routeLinks().filter((link) => readSetting(`conf/${link}/forwarding`) === '0')
  if (closed.length === 0) return
  const guarded = [...new Set([...(await guardedLinks()), ...closed])]
  const rules = guarded.map(
    (link) => `  iifname "${link}" oifname != "${linkPrefix}*" ct state new ct status ! dnat drop`,
  )
  const hook = '  type filter hook forward priority filter - 10; policy accept'
  const text = [`table inet ${guardTable} {`, ' chain forward {', hook, ...rules, ' }', '}', ''].join('\n')
  await runTool(needed('nft', 'nftables'), ['-f', '-'], withoutTable(guardTable) + text)
  for (const link of closed) writeSetting(`conf/${link}/forwarding`, '1')
}

/** Takes back what ensureForwarding did; for whoever leaves last. */
export async function restoreForwarding(): Promise<void> {
  const guarded = await guardedLinks()
  if (guarded.length === 0) return
  if (readSetting('ip_forward') !== '1')
    for (const link of guarded)
      if (readSetting(`conf/${link}/forwarding`) === '1') writeSetting(`conf/${link}/forwarding`, '0')
  await runTool(needed('nft', 'nftables'), ['-f', '-'], withoutTable(guardTable))
}

export function allowForwardingFrom(link: string): void {
  if (readSetting(`conf/${link}/forwarding`) === '0') writeSetting(`conf/${link}/forwarding`, '1')
}

/**
 * Firewalls of the host that drop what they were not told to forward, as sentences for people; whatever our own rules accept is dropped by
 * them all the same. Docker and ufw set such a policy.
 */
export async function forwardingBlockers(): Promise<string[]> {
  const found: string[] = []
  const nft = hostTool('nft')
  const chains: unknown = nft ? JSON.parse(await runTool(nft, ['-j', 'list', 'chains'])) : {}
  for (const chain of chainsIn(chains)) {
    if (chain.hook !== 'forward' || chain.policy !== 'drop' || chain.family === 'ip6') continue
    if (!chain.table.startsWith('atelier')) found.push(`${chain.family} ${chain.table} ${chain.name}`)
  }
  return found.map(
    (name) =>
      `the firewall chain ${name} drops what it was not told to forward, so apps may not reach the internet; let it accept the links ${linkPrefix}+ both ways${dockerHint(name)}`,
  )
}

function dockerHint(name: string): string {
  if (name !== 'ip filter FORWARD') return ''
  return ` (with Docker: iptables -I DOCKER-USER -i ${linkPrefix}+ -j ACCEPT; iptables -I DOCKER-USER -o ${linkPrefix}+ -j ACCEPT; with ufw: ufw route allow in on ${linkPrefix}+)`
}

type Chain = { family: string; table: string; name: string; hook: string; policy: string }

function chainsIn(listing: unknown): Chain[] {
  const entries = typeof listing === 'object' && listing !== null && 'nftables' in listing ? listing.nftables : []
  if (!Array.isArray(entries)) return []
  return entries.flatMap((entry: unknown) => {
    const chain: unknown = typeof entry === 'object' && entry !== null && 'chain' in entry ? entry.chain : null
    if (typeof chain !== 'object' || chain === null) return []
    const text = (name: string) => String(Reflect.get(chain, name) ?? '')
    return [
      { family: text('family'), table: text('table'), name: text('name'), hook: text('hook'), policy: text('policy') },
    ]
  })
}

// nft fails when a table goes between its looks: the guard is everybody's, and another platform on this machine may be closing.
async function guardedLinks(): Promise<string[]> {
  for (let attempt = 1; ; attempt++) {
    if (!(await tableNames()).includes(guardTable)) return []
    try {
      const text = await runTool(needed('nft', 'nftables'), ['list', 'table', 'inet', guardTable])
      return [...text.matchAll(/iifname "([^"*]+)"/g)].map(([, link = '']) => link)
    } catch (thrown) {
      if (attempt === 5) throw thrown
    }
  }
}

/** Names of the inet tables there are. */
export async function tableNames(): Promise<string[]> {
  const text = await runTool(needed('nft', 'nftables'), ['list', 'tables', 'inet'])
  return [...text.matchAll(/^table inet (\S+)/gm)].map(([, name = '']) => name)
}

type Route = { link: string; destination: number; mask: number }

// /proc/net/route: addresses are hexadecimal in the order of this machine's bytes, which is little-endian wherever Node runs.
function routes(): Route[] {
  const lines = readFileSync('/proc/net/route', 'latin1').trim().split('\n').slice(1)
  return lines
    .map((line) => line.split('\t'))
    .map(([link = '', destination = '', , , , , , mask = '']) => ({
      link,
      destination: swapped(destination),
      mask: swapped(mask),
    }))
    .filter(({ link }) => !link.startsWith(linkPrefix))
}

function swapped(hex: string): number {
  return Buffer.from(hex, 'hex').readUInt32LE()
}

function toNumber(address: string): number {
  return Buffer.from(address.split('.').map(Number)).readUInt32BE()
}

function readSetting(name: string): string | null {
  try {
    return readFileSync(`/proc/sys/net/ipv4/${name}`, 'latin1').trim()
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  }
}

function writeSetting(name: string, value: string): void {
  writeFileSync(`/proc/sys/net/ipv4/${name}`, value)
}
