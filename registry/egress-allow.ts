import { isIP } from 'node:net'

/**
 * One entry of ATELIER_EGRESS_ALLOW: what builds and apps may reach although its address is private or its port is not the web's.
 * `port: null` is every port.
 */
export type EgressRule =
  | { kind: 'host'; host: string; port: number | null }
  /** Every name below the suffix, not the suffix itself. */
  | { kind: 'suffix'; suffix: string; port: number | null }
  | { kind: 'network'; address: string; prefix: number; family: 'ipv4' | 'ipv6'; port: number | null }

/** Reads a comma-separated list of `host`, `*.suffix`, `10.0.0.7`, `10.0.0.0/8`, each with `:port` or without; IPv6 with a port is `[fd00::/8]:443`. */
export function parseEgressAllow(text: string): { rules: EgressRule[]; problems: string[] } {
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean)
  const rules: EgressRule[] = []
  const problems: string[] = []
  for (const entry of entries) {
    const rule = parseEntry(entry.toLowerCase())
    if (typeof rule === 'string') problems.push(`${JSON.stringify(entry)} ${rule}`)
    else rules.push(rule)
  }
  return { rules, problems }
}

function parseEntry(entry: string): EgressRule | string {
  const split = splitPort(entry)
  if (!split) return 'has a port that is not a number from 1 to 65535'
  const { place, port } = split
  return parseNetwork(place, port) ?? parseName(place, port)
}

// Of two colons or more without brackets, none is a port's.
function splitPort(entry: string): { place: string; port: number | null } | null {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(entry)
  const plain = bracketed ?? /^([^:]*)(?::([^:]*))?$/.exec(entry)
  if (!plain) return { place: entry, port: null }
  const [, place = '', digits] = plain
  if (digits === undefined) return { place, port: null }
  const port = Number(digits)
  return /^\d{1,5}$/.test(digits) && port >= 1 && port <= 65_535 ? { place, port } : null
}

function parseNetwork(place: string, port: number | null): EgressRule | string | null {
  const [address = '', digits, ...rest] = place.split('/')
  const version = isIP(address)
  if (version === 0 || address.includes('%')) return place.includes('/') ? 'is not a network such as 10.0.0.0/8' : null
  const longest = version === 4 ? 32 : 128
  const prefix = digits === undefined ? longest : Number(digits)
  if (rest.length > 0 || (digits !== undefined && !/^\d{1,3}$/.test(digits)) || prefix > longest)
    return `has a prefix that is not a number from 0 to ${longest}`
  return { kind: 'network', address, prefix, family: version === 4 ? 'ipv4' : 'ipv6', port }
}

const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/

function parseName(place: string, port: number | null): EgressRule | string {
  const isSuffix = place.startsWith('*.')
  const name = isSuffix ? place.slice(2) : place
  if (!hostName.test(name) || /(^|\.)(0x[0-9a-f]*|\d+)$/.test(name))
    return 'is not a host name, *.suffix, address or network (10.0.0.0/8), with or without :port'
  return isSuffix ? { kind: 'suffix', suffix: name, port } : { kind: 'host', host: name, port }
}
