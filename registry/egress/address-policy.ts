import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'

type Range = readonly [address: string, prefix: number, what: string]

/**
 * IPv4 that is not the public internet, from IANA's special-purpose registry. Of its ranges the three for documentation are left out: they
 * lead nowhere.
 */
export const privateIpv4: readonly Range[] = [
  ['0.0.0.0', 8, 'an address of this host'],
  ['10.0.0.0', 8, 'a private address'],
  ['100.64.0.0', 10, 'an address of a provider’s own network'],
  ['127.0.0.0', 8, 'a loopback address'],
  ['169.254.0.0', 16, 'a link-local address'],
  ['172.16.0.0', 12, 'a private address'],
  ['192.0.0.0', 24, 'a reserved address'],
  ['192.88.99.0', 24, 'a 6to4 relay'],
  ['192.168.0.0', 16, 'a private address'],
  ['198.18.0.0', 15, 'a reserved address'],
  ['224.0.0.0', 4, 'a multicast address'],
  ['240.0.0.0', 4, 'a reserved address'],
]

// Of IPv6 only 2000::/3 is given out to the internet. In it, what wraps IPv4 or leads nowhere.
const privateIpv6: readonly Range[] = [
  ['2001::', 23, 'a reserved address'],
  ['2001:db8::', 32, 'a reserved address'],
  ['2002::', 16, 'a 6to4 address'],
  ['3fff::', 20, 'a reserved address'],
  ['::1', 128, 'a loopback address'],
  ['fc00::', 7, 'a private address'],
  ['fe80::', 10, 'a link-local address'],
  ['ff00::', 8, 'a multicast address'],
]

const ipv4Lists = privateIpv4.map(([address, prefix, what]) => ({ what, list: subnet(address, prefix, 'ipv4') }))
const ipv6Lists = privateIpv6.map(([address, prefix, what]) => ({ what, list: subnet(address, prefix, 'ipv6') }))
const globalIpv6 = subnet('2000::', 3, 'ipv6')

/**
 * Why an address is not for builds and apps to reach, as `a loopback address`; null: it is on the public internet. Addresses that carry an
 * IPv4 address (mapped, NAT64) are what they carry. Text that is no address is refused.
 */
export function refusalOf(address: string, own: BlockList): string | null {
  const version = isIP(address)
  if (version === 0) return 'not an address'
  if (version === 4) return ipv4Refusal(address, own)
  if (address.includes('%')) return 'a link-local address'
  const bytes = ipv6Bytes(address)
  const carried = carriedIpv4(bytes)
  if (carried) return ipv4Refusal(carried, own)
  if (own.check(address, 'ipv6')) return 'an address of this host'
  const found = ipv6Lists.find(({ list }) => list.check(address, 'ipv6'))
  if (found) return found.what
  return globalIpv6.check(address, 'ipv6') ? null : 'a reserved address'
}

/** All addresses this host has now; they come and go. */
export function ownAddresses(): BlockList {
  const list = new BlockList()
  for (const { address, family } of Object.values(networkInterfaces()).flatMap((found) => found ?? []))
    list.addAddress(address.replace(/%.*$/, ''), family === 'IPv4' ? 'ipv4' : 'ipv6')
  return list
}

function ipv4Refusal(address: string, own: BlockList): string | null {
  if (own.check(address, 'ipv4')) return loopback(address) ?? 'an address of this host'
  return ipv4Lists.find(({ list }) => list.check(address, 'ipv4'))?.what ?? null
}

function loopback(address: string): string | null {
  return address.startsWith('127.') ? 'a loopback address' : null
}

function subnet(address: string, prefix: number, family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList()
  list.addSubnet(address, prefix, family)
  return list
}

// ::ffff:0:0/96 (RFC 4291 §2.5.5.2), the kernel connects to the IPv4 address; 64:ff9b::/96 (RFC 6052 §2.1), a translator does.
function carriedIpv4(bytes: number[]): string | null {
  const head = bytes.slice(0, 12).join()
  const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255].join()
  const translated = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0].join()
  return head === mapped || head === translated ? bytes.slice(12).join('.') : null
}

// The URL parser writes any IPv6 address in one form: hexadecimal groups, one `::` at most (RFC 5952).
function ipv6Bytes(address: string): number[] {
  const text = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [left = [], right = []] = text.split('::').map((part) => part.split(':').filter(Boolean))
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return groups.map((group) => Number.parseInt(group, 16)).flatMap((group) => [group >> 8, group & 255])
}
