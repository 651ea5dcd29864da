import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { launch, type Program } from '../launch.ts'
import type { NetworkNamespace } from '../network/network.ts'
import { sendSignal, startTimeOf } from '../process-tree.ts'
import { prepareRuntime, stageScript } from '../runtime.ts'
import { giveTo, type SandboxUser } from '../users.ts'
import type { Walls } from '../walls.ts'
import type { InsideSpec, ProbeName } from './inside.ts'
import { type Sighting, systemCallProbes } from './system-calls.ts'

/** What one probe found. `held`: true, the walls held; false, it got through, to what `detail` names; null, it could not be tried. */
export type Finding = { probe: string; held: boolean | null; detail: string }

/** What is hung out for the probes beyond what every platform has. */
export type Bait = Partial<Omit<InsideSpec, 'controlFd' | 'leave' | 'daemons'>>

export type SuiteOptions = {
  home: string
  user: SandboxUser
  /** Those `launch` would choose when left out. */
  walls?: Walls
  /** That programs are given here; the host's when left out. */
  network?: NetworkNamespace
  resolvers?: string[]
  /** Where the platform itself listens on this machine's addresses; reaching it from inside is a breach. */
  addresses?: InsideSpec['addresses']
  bait?: Bait
  /** Leaves daemons behind and looks for them afterwards: takes up to two seconds longer. */
  daemons?: boolean
  /** How the probes are started; by `launch` when left out. Tests start them without walls, to see that they can fail. */
  start?: (program: Program) => Promise<Started>
}

export type Started = { pid: number; control: Readable | null; exited: Promise<unknown> }

const longestReport = 256 * 1024
const loginNames = [
  '.npmrc',
  '.netrc',
  '.git-credentials',
  '.ssh',
  '.aws',
  '.gnupg',
  '.docker/config.json',
  '.kube/config',
]
const managers = [
  '/run/docker.sock',
  '/var/run/docker.sock',
  '/run/containerd/containerd.sock',
  '/run/podman/podman.sock',
]
const buses = ['/run/dbus/system_bus_socket', '/run/systemd/private']
const machineFiles = ['/etc/machine-id', '/sys/class', '/boot']
const sharedFolders = [
  '/tmp',
  '/var/tmp',
  '/dev/shm',
  '/run',
  '/run/lock',
  '/',
  '/etc',
  '/usr',
  '/usr/local/bin',
  '/var/lib',
]

/**
 * Runs the escape suite (security.md B1, B3, B5, B7, I1) behind walls and judges its report. The report is written by whoever is behind the
 * walls: only what was asked is read from it, within bounds, and a probe that says nothing has proved nothing.
 */
export async function runSuite(options: SuiteOptions): Promise<Finding[]> {
  const { home, user } = options
  await using cleanup = new AsyncDisposableStack()
  const runtime = await prepareRuntime(home)
  const beside = ['reach.ts', 'system-calls.ts'].map((name) => join(import.meta.dirname, name))
  const script = await stageScript(home, join(import.meta.dirname, 'inside.ts'), beside)

  const folder = await mkdtemp(join(home, 'runtime', 'probe-'))
  cleanup.defer(() => rm(folder, { recursive: true, force: true }))
  await giveTo(folder, user)
  const spec = await hangOut(options, folder, cleanup)
  const started = await (options.start ?? ((program) => launch(program, { walls: options.walls })))({
    name: 'the escape suite',
    file: runtime.node,
    args: [script, JSON.stringify(spec)],
    cwd: folder,
    env: { PATH: '/usr/bin:/bin', HOME: folder },
    user,
    readable: runtime.paths,
    writable: [folder],
    network: options.network,
    resolvers: options.resolvers,
    control: true,
    limits: { timeoutMs: 20_000, memoryMb: 512, processes: 64, diskMb: 16 },
  })
  const none = { report: new Map<string, Sighting>(), caps: judgeControlGroup('', '') }
  const { report, caps } = started.control ? await readReport(started.control, started.pid) : none
  await started.exited
  return [...judgeAll(report, spec, folder), judgeUser(folder, spec, user), caps, ...(await judgeDaemons(spec))]
}

async function hangOut(options: SuiteOptions, folder: string, cleanup: AsyncDisposableStack): Promise<InsideSpec> {
  const { home, bait = {}, addresses = [], daemons = false } = options
  const name = `atelier-probe-${randomBytes(8).toString('hex')}`
  const open = cleanup.use(await listenForProbes({ host: '127.0.0.1', port: 0 }))
  const open6 = await listenForProbes({ host: '::1', port: 0 }).catch(() => null) // a machine without IPv6
  if (open6) cleanup.use(open6)
  const abstract = process.platform === 'linux' ? cleanup.use(await listenForProbes({ path: `\0${name}` })) : null
  const readable = join(tmpdir(), `${name}-readable`)
  await writeFile(readable, '')
  cleanup.defer(() => rm(readable, { force: true }))
  await chmod(readable, 0o644)
  const inHome = (paths: string[]) => paths.map((path) => join(home, path))
  return {
    controlFd: 3,
    platform: { pid: process.pid, startTime: startTimeOf(process.pid) ?? 0 },
    secretFiles: [
      ...inHome(['secrets/key', 'secrets/postgres.json', 'admin-token', 'atelier.json', 'uids.json']),
      ...inHome(['secrets', 'git', 'store', 'log', 'postgres', 'run/pg']),
      ...(bait.secretFiles ?? []),
    ],
    loginFiles: [...loginNames.map((path) => join(homedir(), path)), ...(bait.loginFiles ?? [])],
    sockets: [
      ...inHome(['run/registry.sock', 'run/gateway.sock', 'run/pg/.s.PGSQL.5432']),
      ...managers,
      ...buses,
      ...(bait.sockets ?? []),
    ],
    abstractSockets: [...(abstract ? [name] : []), ...(bait.abstractSockets ?? [])],
    otherFiles: [...inHome(['edge', 'builds', 'cache']), ...(bait.otherFiles ?? [])],
    otherSockets: [...inHome(['run', 'run/i']), ...(bait.otherSockets ?? [])],
    machineFiles: [readable, ...machineFiles, ...(bait.machineFiles ?? [])],
    addresses: [
      { host: '127.0.0.1', port: open.port },
      ...(open6
        ? [
            { host: '::1', port: open6.port },
            { host: '::ffff:127.0.0.1', port: open.port },
          ]
        : []),
      ...addresses,
      ...(bait.addresses ?? []),
    ],
    timeoutMs: bait.timeoutMs ?? 1000,
    leave: { name, folders: [folder, home, join(home, 'runtime'), ...sharedFolders] },
    hunt: bait.hunt ?? null,
    daemons: daemons ? `987654.${randomBytes(3).readUIntBE(0, 3)}` : null,
  }
}

// Takes connections and says nothing.
async function listenForProbes(
  at: { host: string; port: number } | { path: string },
): Promise<AsyncDisposable & { port: number }> {
  const server: Server = createServer((socket) => socket.on('error', () => socket.destroy()).destroy())
  server.listen(at)
  await once(server, 'listening')
  const address = server.address() as AddressInfo | string
  return {
    port: typeof address === 'string' ? 0 : address.port,
    async [Symbol.asyncDispose]() {
      server.close()
      if (server.listening) await once(server, 'close')
    },
  }
}

async function readReport(control: Readable, pid: number): Promise<{ report: Map<string, Sighting>; caps: Finding }> {
  let text = ''
  let groups = ''
  for await (const chunk of control.setEncoding('utf8')) {
    // It runs by now, and not only what starts it.
    groups ||= groupsOf(String(pid))
    text += chunk
    if (text.length > longestReport) break
  }
  const known = new Set<string>([...systemCallProbes, ...probeNames])
  const sightings = text.slice(0, longestReport).split('\n').map(readSighting)
  const asked = sightings.flatMap((sighting) => (sighting && known.has(sighting.probe) ? [sighting] : []))
  const report = new Map(asked.map((sighting) => [sighting.probe, sighting]))
  return { report, caps: judgeControlGroup(groups, groupsOf('self')) }
}

function readSighting(line: string): Sighting | null {
  try {
    const read: unknown = JSON.parse(line)
    if (typeof read !== 'object' || read === null || !('probe' in read) || !('seen' in read)) return null
    const seen = Array.isArray(read.seen) ? read.seen.slice(0, 200).map(printable) : null
    return { probe: String(read.probe), seen, note: 'note' in read ? printable(read.note) : '' }
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw thrown
  }
}

function printable(value: unknown): string {
  return String(value)
    .slice(0, 200)
    .replace(/[^\x20-\x7e]/g, '?')
}

/** Each probe of the script, and how what it saw is judged: what is left of it is a breach. */
const judges: Record<ProbeName, (seen: string[], spec: InsideSpec, folder: string) => string[]> = {
  'platform files': (seen) => seen,
  'login files': (seen) => seen,
  'platform process': (seen) => seen,
  'platform sockets': (seen) => seen,
  'other processes': (seen) => seen,
  signals: (seen) => seen,
  'secrets of processes': (seen) => seen,
  descriptors: strayDescriptors,
  rights: (seen) => seen,
  'other apps’ files': (seen) => seen,
  'other apps’ sockets': (seen) => seen,
  'files of the machine': (seen) => seen,
  'shared folders': leftOutside,
  devices: (seen) => seen,
  network: (seen) => seen,
  'abstract sockets': (seen) => seen,
  daemons: () => [],
}
const probeNames = Object.keys(judges) as ProbeName[]

function judgeAll(report: Map<string, Sighting>, spec: InsideSpec, folder: string): Finding[] {
  const asked = probeNames.filter(
    (name) => name !== 'daemons' && (name !== 'secrets of processes' || spec.hunt !== null),
  )
  const ofScript = asked.map(
    (probe): Finding => judgeOne(probe, report.get(probe), (seen) => judges[probe](seen, spec, folder)),
  )
  return [...ofScript, ...systemCallProbes.map((probe) => judgeOne(probe, report.get(probe), (seen) => seen))]
}

function judgeOne(probe: string, sighting: Sighting | undefined, judge: (seen: string[]) => string[]): Finding {
  if (!sighting) return { probe, held: null, detail: 'it reported nothing' }
  if (sighting.seen === null) return { probe, held: null, detail: sighting.note }
  const breaches = judge(sighting.seen)
  return { probe, held: breaches.length === 0, detail: breaches.length > 0 ? breaches.join(', ') : sighting.note }
}

// Standard input is /dev/null; output, errors and control are three sockets; the rest is what Node opens for itself. A socket or pipe
// that this process has too, or a file, was handed on.
function strayDescriptors(seen: string[]): string[] {
  const own = new Set(readdirSync('/proc/self/fd').flatMap((fd) => linkOf(fd)))
  const sockets = seen.filter((link) => link.startsWith('socket:'))
  return [
    ...seen.filter((link) => link.startsWith('/') && link !== '/dev/null' && !/^\/proc\/\d+\/fd$/.test(link)),
    ...seen.filter((link) => /^(socket|pipe):/.test(link) && own.has(link)),
    ...(sockets.length > 3 ? [`${sockets.length - 3} sockets too many`] : []),
  ]
}

function linkOf(fd: string): string[] {
  try {
    return [readlinkSync(`/proc/self/fd/${fd}`)]
  } catch {
    return [] // closed meanwhile
  }
}

// A folder of the same name inside may be another one: only a file that is seen outside got out.
function leftOutside(seen: string[], { leave }: InsideSpec, folder: string): string[] {
  const known = leave.folders.filter((place) => place !== folder && seen.includes(place))
  const outside = known.filter((place) => existsSync(join(place, leave.name)))
  for (const place of outside) rmSync(join(place, leave.name), { force: true })
  return outside
}

function judgeUser(folder: string, { leave }: InsideSpec, user: SandboxUser): Finding {
  const probe = 'own user'
  const left = statSync(join(folder, leave.name), { throwIfNoEntry: false })
  if (!left) return { probe, held: null, detail: 'it left no file' }
  if (user.uid === null) return { probe, held: false, detail: 'it runs as the user who started the platform' }
  return { probe, held: left.uid === user.uid, detail: `its files belong to ${left.uid}` }
}

// As the kernel tells it outside; inside, a control group namespace shows every group as the top.
function judgeControlGroup(its: string, own: string): Finding {
  const probe = 'control group'
  if (its === '') return { probe, held: null, detail: 'it could not be looked at' }
  if (its !== own) return { probe, held: true, detail: '' }
  return { probe, held: false, detail: 'memory and processes are counted by looking, not by the kernel' }
}

function groupsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'latin1')
  } catch {
    return '' // no /proc, or gone
  }
}

async function judgeDaemons({ daemons }: InsideSpec): Promise<Finding[]> {
  if (daemons === null) return []
  const probe = 'daemons'
  const deadline = performance.now() + 2000
  while (living(daemons).length > 0 && performance.now() < deadline) await pause(20)
  const left = living(daemons)
  for (const pid of left) sendSignal(pid, 'SIGKILL')
  return [{ probe, held: left.length === 0, detail: left.length > 0 ? `${left.length} daemons live on` : '' }]
}

function living(marker: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && commandOf(name).includes(marker))
    .map(Number)
}

function commandOf(pid: string): string {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
    return command.startsWith('sleep\0') ? command : ''
  } catch {
    return '' // gone
  }
}
