import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { codeOf, messageOf } from '../../registry/errors.ts'
import { type HeldNamespace, makeNamespace, needed, runTool } from './app-namespace.ts'
import { type AppRules, rulesInside, rulesOfHost, withoutTable } from './app-network-rules.ts'
import {
  allowForwardingFrom,
  ensureForwarding,
  forwardingBlockers,
  isRouted,
  linkPrefix,
  restoreForwarding,
  tableNames,
} from './forwarding.ts'
import { closeNamespace } from './network.ts'
import { readResolvers } from './resolvers.ts'
import type { ConnectedNamespace, Uplink } from './uplink.ts'

// Reserved for tests between machines (RFC 2544), so neither on the internet nor, as a rule, on a network; then parts of the private ranges.
const ranges: [address: string, prefix: number][] = [
  ['198.18.0.0', 15],
  ['10.213.0.0', 16],
  ['172.29.0.0', 16],
  ['192.168.224.0', 19],
]

/**
 * For root: each namespace is connected to the host by a pair of links of its own, with four addresses, and the host sends on what comes out of it
 * under its own address. The kernel does all of it. A namespace has no name and its links are gone with it, also after a SIGKILL; the
 * host's rules stand in a table whose name says which process they belong to, and whoever starts next removes those of the dead.
 */
export class VethUplink implements Uplink {
  readonly resolvers: string[]
  readonly #range: [address: string, prefix: number]
  readonly #table = `atelier_${process.pid}_${startTimeOf(process.pid)}`
  readonly #group = randomInt(1, 2 ** 31 - 1)
  #rules: AppRules

  /** Throws with what is missing. */
  static async open(rules: AppRules): Promise<VethUplink> {
    needed('ip', 'iproute2')
    needed('nft', 'nftables')
    const range = ranges.find(([address, prefix]) => !isRouted(address, prefix))
    if (!range) throw new Error(`routes lead to all of ${ranges.map((parts) => parts.join('/')).join(', ')}`)
    const { reachable, isLocalOnly } = readResolvers()
    if (isLocalOnly)
      throw new Error(
        'the host asks a name server on its own loopback that apps cannot reach; name another in /etc/resolv.conf',
      )
    const uplink = new VethUplink(range, reachable, rules)
    await removeStaleTables()
    await uplink.#install()
    return uplink
  }

  private constructor(range: [string, number], resolvers: string[], rules: AppRules) {
    this.#range = range
    this.resolvers = resolvers
    this.#rules = rules
  }

  async make(rules: AppRules): Promise<ConnectedNamespace> {
    const { held, link } = await this.#makeLinked(rules)
    const { namespace } = held
    return {
      namespace,
      setRules: async (changed) => {
        const enter = ['--net=/proc/self/fd/3', '--', needed('nft', 'nftables'), '-f', '-']
        await runTool(needed('nsenter', 'util-linux'), enter, rulesInside(changed), [namespace.netFd])
        return true
      },
      close: async () => {
        closeNamespace(namespace)
        await this.#remove(link)
      },
    }
  }

  async setRules(rules: AppRules): Promise<void> {
    this.#rules = rules
    await this.#install()
  }

  async check(): Promise<void> {
    if (!(await tableNames()).includes(this.#table)) await this.#install()
    else await ensureForwarding()
  }

  warnings(): Promise<string[]> {
    return forwardingBlockers()
  }

  async close(): Promise<void> {
    await runTool(needed('ip', 'iproute2'), ['link', 'delete', 'group', String(this.#group)]).catch(() => undefined) // there may be none
    await runTool(needed('nft', 'nftables'), ['-f', '-'], withoutTable(this.#table))
    const others = (await tableNames()).filter((name) => ownerOf(name) !== null)
    if (others.length === 0) await restoreForwarding()
  }

  async #install(): Promise<void> {
    const text = rulesOfHost({
      ...this.#rules,
      resolvers: this.resolvers,
      table: this.#table,
      group: this.#group,
      range: this.#range.join('/'),
      links: linkPrefix,
    })
    await runTool(needed('nft', 'nftables'), ['-f', '-'], text)
    await ensureForwarding()
  }

  // A link's name stands for its addresses, on the whole host: the kernel refuses a name that is taken, whoever took it.
  async #makeLinked(rules: AppRules): Promise<{ held: HeldNamespace; link: string }> {
    const [base, prefix] = this.#range
    for (let attempt = 1; ; attempt++) {
      const number = randomInt(2 ** (30 - prefix))
      const link = `${linkPrefix}${number}`
      const [outside, inside] = [addressAt(base, number * 4 + 1), addressAt(base, number * 4 + 2)]
      const links = [
        'link set lo up',
        `link add eth0 type veth peer name ${link} netns ${process.pid}`,
        'link set eth0 addrgenmode none',
        `address add ${inside}/30 dev eth0`,
        'link set eth0 up',
        `route add default via ${outside}`,
      ]
      try {
        const held = await makeNamespace({ links: `${links.join('\n')}\n`, rules: rulesInside(rules) })
        return { held: await this.#connect(held, link, outside), link }
      } catch (thrown) {
        if (attempt === 20 || !/File exists/.test(messageOf(thrown))) throw thrown
      }
    }
  }

  async #connect(held: HeldNamespace, link: string, address: string): Promise<HeldNamespace> {
    const outside = [
      `link set ${link} group ${this.#group} addrgenmode none`,
      `address add ${address}/30 dev ${link}`,
      `link set ${link} up`,
    ]
    try {
      await runTool(needed('ip', 'iproute2'), ['-batch', '-'], `${outside.join('\n')}\n`)
      allowForwardingFrom(link)
    } catch (thrown) {
      closeNamespace(held.namespace)
      throw thrown
    } finally {
      await held.letGo()
    }
    return held
  }

  // It goes with the namespace, some milliseconds later; this is for whoever looks at once.
  async #remove(link: string): Promise<void> {
    await runTool(needed('ip', 'iproute2'), ['link', 'delete', link]).catch(() => undefined)
  }
}

async function removeStaleTables(): Promise<void> {
  const stale = (await tableNames()).filter((name) => {
    const owner = ownerOf(name)
    return owner !== null && startTimeOf(owner.pid) !== owner.startTime
  })
  if (stale.length > 0) await runTool(needed('nft', 'nftables'), ['-f', '-'], stale.map(withoutTable).join(''))
}

function ownerOf(table: string): { pid: number; startTime: string } | null {
  const [, pid, startTime = ''] = /^atelier_(\d+)_(\d+)$/.exec(table) ?? []
  return pid ? { pid: Number(pid), startTime } : null
}

// proc(5): field 22, counted after the name, which may hold anything.
function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'ESRCH') return null
    throw thrown
  }
}

function addressAt(base: string, offset: number): string {
  const bytes = Buffer.from(base.split('.').map(Number))
  bytes.writeUInt32BE(bytes.readUInt32BE() + offset)
  return bytes.join('.')
}
