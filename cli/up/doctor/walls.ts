import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../../../registry/config.ts'
import { messageOf } from '../../../registry/errors.ts'
import { findHierarchy } from '../../../sandbox/cgroups.ts'
import { describeIsolation, isWeakerThan, probeUser, proveIsolation } from '../../../sandbox/isolation.ts'
import { closeNamespace, type ListeningNamespace, makeListeningNamespace } from '../../../sandbox/network/network.ts'
import type { SandboxUser } from '../../../sandbox/users.ts'
import { type Check, fail, ok, warn } from './check.ts'

/**
 * Runs the escape suite as a build is run, in a home of its own: it needs no platform, and leaves nothing behind. What it proves is true for
 * the user who runs it.
 */
export async function checkIsolation({ isolation: setting }: Config): Promise<Check> {
  await using cleanup = new AsyncDisposableStack()
  const home = await mkdtemp(join(tmpdir(), 'atelier-doctor-'))
  cleanup.defer(() => rm(home, { recursive: true, force: true }))
  await chmod(home, 0o711)
  const user = await leased(home)
  if (typeof user === 'string')
    return fail(
      'isolation',
      `none: no user can be had for apps to run as (${user})`,
      'run Atelier on a host, or as an ordinary user',
    )

  const network = await makeListeningNamespace(3128).catch((thrown: unknown) => messageOf(thrown))
  if (typeof network !== 'string') cleanup.defer(() => close(network))
  const proved = await proveIsolation({
    home,
    user,
    daemons: true,
    ...(typeof network !== 'string' && { network }),
  })
  const { mode, walls, advice, findings } = proved
  const held = findings.filter(({ held }) => held === true).length
  const what = `${mode} (${walls ?? 'no walls'}): ${describeIsolation(proved)}; ${held} of ${findings.length} probes held`
  const next = advice[0] ?? (typeof network === 'string' ? network : 'see SECURITY.md for what this means')
  const details = findings.filter(({ held }) => held !== true).map(({ probe, detail }) => `${probe}: ${detail}`)
  if (mode === 'full') return { ...ok('isolation', what), details }
  if (setting === 'require' && isWeakerThan(mode, 'strong'))
    return { ...fail('isolation', `${what}; ATELIER_ISOLATION=require refuses to start so`, next), details }
  return { ...warn('isolation', what, next), details }
}

export function checkControlGroups(): Check {
  const found = findHierarchy()
  if (found) {
    const names = Object.keys(found.folders).join(', ')
    return ok('control groups', `version ${found.version}: ${names}`)
  }
  const next = process.getuid?.() === 0 ? 'mount /sys/fs/cgroup writable' : 'start Atelier as root'
  return warn('control groups', 'none to be had: memory and processes are counted by looking, once a second', next)
}

async function leased(home: string): Promise<SandboxUser | string> {
  try {
    return await probeUser({ home }, 'build')
  } catch (thrown) {
    return messageOf(thrown)
  }
}

async function close(namespace: ListeningNamespace): Promise<void> {
  namespace.server.close()
  closeNamespace(namespace)
}
