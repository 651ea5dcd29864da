import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { makeNamespace, needed } from './app-namespace.ts'
import { type AppRules, rulesInside } from './app-network-rules.ts'
import { closeNamespace } from './network.ts'
import type { ConnectedNamespace, Uplink } from './uplink.ts'

/** Inside, this stands for the host's own name server, wherever that is. */
const dnsAddress = '198.18.0.1'
const readyWithinMs = 10_000

/**
 * For an ordinary user: pasta carries each namespace's traffic over sockets of its own, one process a namespace, 60 ms to start. It brings no
 * address of the host's into the namespace and forwards no port; the rules inside, which the app has no rights over, do the rest.
 */
export class PastaUplink implements Uplink {
  readonly resolvers = [dnsAddress]

  /** Throws with what is missing. */
  static open(): PastaUplink {
    for (const [tool, name] of [
      ['pasta', 'passt'],
      ['nft', 'nftables'],
      ['ip', 'iproute2'],
    ] as const)
      needed(tool, name)
    return new PastaUplink()
  }

  async make(rules: AppRules): Promise<ConnectedNamespace> {
    const held = await makeNamespace({ links: 'link set lo up\n', rules: rulesInside(rules) })
    try {
      const pasta = await startPasta(held.pid)
      return {
        namespace: held.namespace,
        // Whoever would change them needs rights that only the process that made the namespace had.
        setRules: async () => false,
        close: async () => {
          closeNamespace(held.namespace)
          pasta.kill('SIGKILL')
        },
      }
    } catch (thrown) {
      closeNamespace(held.namespace)
      throw thrown
    } finally {
      await held.letGo()
    }
  }

  async setRules(): Promise<void> {}

  async check(): Promise<void> {}

  async warnings(): Promise<string[]> {
    return []
  }

  async close(): Promise<void> {}
}

async function startPasta(pid: number): Promise<ChildProcess> {
  const noPorts = ['-t', 'none', '-u', 'none', '-T', 'none', '-U', 'none']
  const options = ['--config-net', '--ipv4-only', '--no-map-gw', '--dns-forward', dnsAddress, ...noPorts]
  const dies = ['--pdeathsig', 'KILL', '--']
  const pasta = needed('pasta', 'passt')
  const child = spawn(
    needed('setpriv', 'util-linux'),
    [...dies, pasta, '--foreground', '--quiet', ...options, String(pid)],
    {
      env: { PATH: '/usr/bin:/bin' },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const said = buffer(child.stderr)
  const ended = once(child, 'close').then(async () => {
    const words = (await said)
      .toString()
      .split('\n')
      .find((line) => line && !line.includes('syslog'))
    throw new Error(`pasta: ${words ?? 'ended by itself'}`)
  })
  ended.catch(() => undefined) // when it is killed
  await Promise.race([hasRoute(pid), ended])
  return child
}

async function hasRoute(pid: number): Promise<void> {
  const deadline = performance.now() + readyWithinMs
  while (!/\t00000000\t/.test(readFileSync(`/proc/${pid}/net/route`, 'latin1'))) {
    if (performance.now() > deadline) throw new Error('pasta: no route within 10 s')
    await wait(5)
  }
}
