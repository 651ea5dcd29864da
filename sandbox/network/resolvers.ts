import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { codeOf } from '../../registry/errors.ts'

export type Resolvers = {
  /** Name servers that can be asked from another network namespace. */
  reachable: string[]
  /** The host asks one on its own loopback, and nobody else can. */
  isLocalOnly: boolean
}

/**
 * The host's name servers. Where a stub on the loopback asks for all (systemd-resolved), those that it asks itself, which it writes to a
 * second file.
 */
export function readResolvers(read: (path: string) => string = textOf): Resolvers {
  const all = nameServers(read('/etc/resolv.conf'))
  const reachable = all.filter(isElsewhere)
  if (reachable.length > 0) return { reachable, isLocalOnly: false }
  const upstream = nameServers(read('/run/systemd/resolve/resolv.conf')).filter(isElsewhere)
  return { reachable: upstream, isLocalOnly: upstream.length === 0 }
}

// resolv.conf(5): the first three count.
function nameServers(text: string): string[] {
  const found = [...text.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].map(([, address = '']) => address)
  return found.filter((address) => isIP(address) !== 0).slice(0, 3)
}

function isElsewhere(address: string): boolean {
  return isIP(address) === 4 && !/^(127\.|0\.)/.test(address)
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'EACCES') return ''
    throw thrown
  }
}
