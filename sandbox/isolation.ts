import { readFileSync } from 'node:fs'
import { type IsolationMode, isolationModes } from '../registry/config.ts'
import { messageOf } from '../registry/errors.ts'
import { findHierarchy } from './cgroups.ts'
import { hostTool } from './host-tools.ts'
import { type Finding, runSuite, type SuiteOptions } from './probes/suite.ts'
import { systemCallProbes } from './probes/system-calls.ts'
import { firstUser, leaseUser, type Purpose, type SandboxUser } from './users.ts'
import { findWalls, type WallsName } from './walls.ts'

/**
 * How far apps and builds are kept from this machine and from each other, as the escape suite proved it:
 * - `full`: everything holds.
 * - `strong`: secrets, files, processes and the network are out of reach; one layer that stands behind these is missing.
 * - `users`: apps are kept from the platform's secrets and from each other by being users of their own, and see the rest of the machine.
 * - `none`: apps and builds can read what the platform can.
 */
export type Isolation = {
  mode: IsolationMode
  /** What holds it up here; null where nothing could be started. */
  walls: WallsName | null
  /** What apps and builds reach, in words for people: `ports of this machine`. */
  holes: string[]
  /** Layers that would stand behind the walls that hold: `a filter of system calls`. */
  missing: string[]
  /** What to install or set, the first one first; empty when nothing would help. */
  advice: string[]
}

export function isWeakerThan(mode: IsolationMode, other: IsolationMode): boolean {
  return isolationModes.indexOf(mode) < isolationModes.indexOf(other)
}

/** The user the probes run as: one like those of builds and apps, and none of theirs. */
export function probeUser(config: { home: string }, purpose: Purpose): Promise<SandboxUser> {
  return leaseUser(config, { purpose, app: '_probes' })
}

/** Runs the escape suite as builds and apps are run here, and says what it proved. Never throws: what cannot be run proves nothing. */
export async function proveIsolation(options: SuiteOptions): Promise<Isolation & { findings: Finding[] }> {
  const facts = readMachine()
  try {
    const walls = options.walls ?? (await findWalls(options.user))
    const findings = await runSuite({ ...options, walls })
    return { ...judgeIsolation(findings), walls: walls.name, advice: adviceFor(findings, facts), findings }
  } catch (thrown) {
    const holes = [`nothing could be started behind walls (${messageOf(thrown)})`]
    return { mode: 'none', walls: null, holes, missing: [], advice: adviceFor([], facts), findings: [] }
  }
}

type Meaning = { says: string; allows: IsolationMode }

/** What it means for people when a probe gets through, and the best that is left to be said then. */
const meanings: Record<string, Meaning> = {
  'platform files': { says: "the platform's secrets and data", allows: 'none' },
  'login files': { says: 'the keys and tokens of the user who started Atelier', allows: 'none' },
  'platform process': { says: "the platform's memory and environment", allows: 'none' },
  'platform sockets': { says: "the platform's own sockets", allows: 'none' },
  signals: { says: "signals to the platform's processes", allows: 'none' },
  'secrets of processes': { says: 'the environment of other processes', allows: 'none' },
  'other apps’ files': { says: "other apps' files", allows: 'none' },
  'other apps’ sockets': { says: "other apps' sockets", allows: 'none' },
  'other processes': { says: 'the list of processes', allows: 'users' },
  descriptors: { says: 'open files of the platform', allows: 'users' },
  rights: { says: 'rights they should have given up', allows: 'users' },
  'files of the machine': { says: 'files that everybody on this machine may read', allows: 'users' },
  'shared folders': { says: 'folders shared with the machine, such as /tmp', allows: 'users' },
  devices: { says: 'devices of the machine', allows: 'users' },
  network: { says: 'ports of this machine', allows: 'users' },
  'abstract sockets': { says: 'sockets without a file', allows: 'users' },
  daemons: { says: 'processes that outlive their job', allows: 'users' },
  'own user': { says: 'users of their own', allows: 'strong' },
  'control group': { says: 'limits kept by the kernel', allows: 'strong' },
}
const ofKernel: Meaning = { says: 'a filter of system calls', allows: 'strong' }

/** The mode is what the weakest probe leaves; one that reported nothing has not held. A call that was not tried, where a filter is, has. */
export function judgeIsolation(findings: Finding[]): Pick<Isolation, 'mode' | 'holes' | 'missing'> {
  const meaningOf = (probe: string) => (systemCallProbes.includes(probe) ? ofKernel : meanings[probe])
  const broken = findings.filter(
    ({ probe, held }) => held === false || (held === null && !systemCallProbes.includes(probe)),
  )
  const silent = findings.every(({ held }) => held !== true)
  const meant = broken.flatMap(({ probe }) => meaningOf(probe) ?? [])
  const modes: IsolationMode[] = [silent ? 'none' : 'full', ...meant.map(({ allows }) => allows)]
  const mode = isolationModes.find((one) => modes.includes(one)) ?? 'none'
  const words = (of: Meaning[]) => [
    ...new Set(of.sort((one, other) => order(one) - order(other)).map(({ says }) => says)),
  ]
  return {
    mode,
    holes: words(meant.filter(({ allows }) => allows !== 'strong')),
    missing: words(meant.filter(({ allows }) => allows === 'strong')),
  }
}

function order({ allows }: Meaning): number {
  return isolationModes.indexOf(allows)
}

/** What decides how strong walls can be here. */
export type Machine = {
  platform: NodeJS.Platform
  arch: string
  isRoot: boolean
  /** Root may still lack what it takes, in a container. */
  mayMount: boolean
  /** Whether root may become the users that apps run as, or only the few a container was given. */
  hasLeasedUsers: boolean
  missingTools: string[]
  /** sysctl values by name; null where the kernel has no such switch. */
  sysctl: Record<
    'user.max_user_namespaces' | 'kernel.unprivileged_userns_clone' | 'kernel.apparmor_restrict_unprivileged_userns',
    number | null
  >
  hasControlGroups: boolean
}

const packagesOfTools: Record<string, string> = {
  bwrap: 'bubblewrap',
  setpriv: 'util-linux',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  prlimit: 'util-linux',
  nft: 'nftables',
  pasta: 'passt',
  ip: 'iproute2',
}

export function readMachine(): Machine {
  const status = text('/proc/self/status')
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  const isRoot = process.getuid?.() === 0
  return {
    platform: process.platform,
    arch: process.arch,
    isRoot,
    mayMount: (effective >> 21n) % 2n === 1n,
    hasLeasedUsers: holdsLeasedUsers(text('/proc/self/uid_map')),
    missingTools: Object.keys(packagesOfTools).filter(
      (name) => hostTool(name) === null && !(isRoot && name === 'pasta'),
    ),
    sysctl: {
      'user.max_user_namespaces': sysctl('user/max_user_namespaces'),
      'kernel.unprivileged_userns_clone': sysctl('kernel/unprivileged_userns_clone'),
      'kernel.apparmor_restrict_unprivileged_userns': sysctl('kernel/apparmor_restrict_unprivileged_userns'),
    },
    hasControlGroups: findHierarchy() !== null,
  }
}

/** Sentences with the command in them, for what got through; the one that helps most first. */
export function adviceFor(findings: Finding[], machine: Machine): string[] {
  const { mode } = judgeIsolation(findings)
  if (mode === 'full') return []
  if (machine.platform !== 'linux')
    return [
      'run Atelier on Linux: this system has no namespaces to put apps and builds in; here it is for your own apps only',
    ]

  const hasFilter = findings.some(({ probe, held }) => systemCallProbes.includes(probe) && held === true)
  const packages = [...new Set(machine.missingTools.map((name) => packagesOfTools[name] ?? name))]
  const { sysctl: switches } = machine
  const isRoomMissing = isWeakerThan(mode, 'strong')
  return [
    ...(packages.length > 0 ? [`install what is missing: apt-get install ${packages.join(' ')}`] : []),
    ...(switches['user.max_user_namespaces'] === 0
      ? ['allow user namespaces: sysctl -w user.max_user_namespaces=15000']
      : []),
    ...(switches['kernel.unprivileged_userns_clone'] === 0
      ? ['allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1']
      : []),
    ...(switches['kernel.apparmor_restrict_unprivileged_userns'] === 1 && isRoomMissing
      ? [
          'let bubblewrap make user namespaces: cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict',
        ]
      : []),
    ...(machine.isRoot && !machine.hasLeasedUsers
      ? ['this is root of a container with too few users for apps: run Atelier on the host, or as an ordinary user']
      : []),
    ...(machine.isRoot && !machine.mayMount
      ? [
          'this is root without its rights, as in a container: run Atelier on the host, or give the container CAP_SYS_ADMIN',
        ]
      : []),
    ...(machine.isRoot ? [] : ['start Atelier as root: then every app is a user of its own, in a network of its own']),
    ...(machine.arch !== 'x64' && !hasFilter ? [`on ${machine.arch} there is no system call filter yet`] : []),
    ...(machine.isRoot && !machine.hasControlGroups
      ? ['let Atelier make control groups: mount /sys/fs/cgroup writable (a service of systemd: Delegate=yes)']
      : []),
  ]
}

/** `strong: all is walled off but …`, one line for logs, `atelier status` and the console. */
export function describeIsolation({ mode, holes, missing }: Pick<Isolation, 'mode' | 'holes' | 'missing'>): string {
  const open = holes.slice(0, 3).join('; ') + (holes.length > 3 ? `; and ${holes.length - 3} more` : '')
  if (mode === 'full') return 'apps and builds are walled off from this machine and from each other'
  if (mode === 'strong')
    return `apps and builds are walled off; what would stand behind that is missing: ${missing.join(', ')}`
  if (mode === 'users') return `apps and builds are users of their own and reach ${open}`
  return `apps and builds are NOT walled off, they reach ${open}`
}

// user_namespaces(7): first id inside, first id outside, how many.
function holdsLeasedUsers(map: string): boolean {
  const ranges = map
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
  return ranges.some(([inside = 0, , count = 0]) => inside <= firstUser && firstUser < inside + count)
}

function sysctl(path: string): number | null {
  const value = text(`/proc/sys/${path}`)
  return value === '' ? null : Number(value)
}

function text(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // not on this kernel
  }
}
