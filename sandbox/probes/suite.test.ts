import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { createLog } from '../../registry/log.ts'
import type { Program } from '../launch.ts'
import { AppNetworks } from '../network/app-network.ts'
import { closeNamespace, makeListeningNamespace } from '../network/network.ts'
import { seccompFilter } from '../seccomp.ts'
import { ThrowAwayHome } from '../throw-away-home.ts'
import { giveTo, leaseUser } from '../users.ts'
import { tryWalls, type Walls } from '../walls.ts'
import { type Finding, runSuite, type Started, type SuiteOptions } from './suite.ts'
import { systemCallProbes } from './system-calls.ts'

const isRoot = process.getuid?.() === 0
const home = await ThrowAwayHome.make()
const walls = await tryWalls(home.buildUser)
const rows: Record<string, string> = {
  'platform files': 'B1',
  'login files': 'B1',
  'platform process': 'B1',
  'platform sockets': 'B1',
  'secrets of processes': 'B1',
  network: 'B3',
  'abstract sockets': 'B3',
  daemons: 'B5',
  ...Object.fromEntries(systemCallProbes.map((probe) => [probe, 'B7'])),
}
const rowOf = (probe: string) => rows[probe] ?? 'I1'

const canary = () => `canary-${randomBytes(16).toString('hex')}`

/** A platform with something to steal: in files, in a process, behind sockets, in another app's home. */
class Bait implements AsyncDisposable {
  readonly options: NonNullable<SuiteOptions['bait']>
  readonly #process: ChildProcess
  readonly #stack: AsyncDisposableStack

  static async hangOut(): Promise<Bait> {
    const stack = new AsyncDisposableStack()
    const other = await leaseUser({ home: home.path }, { purpose: 'app', app: 'other' })
    const place = join(home.path, 'bait')
    await mkdir(place, { recursive: true, mode: 0o711 })
    const write = async (name: string, mode: number) => {
      await writeFile(join(place, name), canary(), { mode })
      return join(place, name)
    }
    const listen = async (path: string) => {
      const server = createServer((socket) => socket.on('error', () => socket.destroy()).end()).listen(path)
      await once(server, 'listening')
      stack.defer(() => void server.close())
      return path
    }
    const [secret, login, otherFile] = [
      await write('key', 0o600),
      await write('npmrc', 0o600),
      await write('db', 0o600),
    ]
    await giveTo(otherFile, other)
    await mkdir(join(place, 'sockets'), { recursive: true, mode: 0o700 })
    return new Bait(stack, {
      secretFiles: [secret],
      loginFiles: [login],
      otherFiles: [otherFile],
      sockets: [await listen(join(place, 'sockets', `docker-${randomBytes(4).toString('hex')}`))],
      otherSockets: [await listen(join(place, 'sockets', `app-${randomBytes(4).toString('hex')}`))],
      hunt: 'canary-[0-9a-f]{32}',
    })
  }

  private constructor(stack: AsyncDisposableStack, options: Bait['options']) {
    this.#stack = stack
    this.options = options
    const env = { DATABASE_URL: canary(), PATH: '/usr/bin:/bin' }
    this.#process = spawn('/bin/sleep', ['3600'], { env, stdio: 'ignore' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
    await this.#stack.disposeAsync()
  }
}

async function tryEverything(options: Partial<SuiteOptions>): Promise<Finding[]> {
  await using bait = await Bait.hangOut()
  return await runSuite({ home: home.path, user: home.buildUser, bait: bait.options, daemons: true, ...options })
}

const through = (findings: Finding[]) => findings.filter(({ held }) => held === false).map(({ probe }) => probe)

/** A child process like any other: the platform's user, the platform's descriptors, no walls. */
async function withoutWalls(program: Program): Promise<Started> {
  const inherited = await open(join(home.path, 'bait', 'key'))
  const { file, args, cwd, env } = program
  const stdio = ['ignore', 'inherit', 'inherit', 'pipe', inherited.fd] as const
  const child = spawn(file, args, { cwd, env, stdio: [...stdio] })
  const control = child.stdio[3]
  const exited = once(child, 'exit').finally(() => inherited.close())
  await once(child, 'spawn')
  return { pid: child.pid ?? 0, control: control instanceof Duplex ? control : null, exited }
}

// What this kernel has none of, so that nobody can be seen to reach it.
const absentHere = ['socket AF_ALG', 'getpid of x32', 'init_module', 'kexec_load', 'socket of other families']

test('B1 B3 B5 B7 I1: without walls every probe gets through, so each of them can fail', async () => {
  const findings = await tryEverything({ start: withoutWalls })
  const held = findings.filter(({ held }) => held !== false).map(({ probe }) => probe)
  if (isRoot) expect(held.filter((probe) => !absentHere.includes(probe))).toEqual([])
  expect(through(findings)).toEqual(expect.arrayContaining(['platform files', 'secrets of processes', 'network']))
  expect(findings.length).toBeGreaterThanOrEqual(40)
  for (const { held, detail } of findings) if (held === false) expect(detail).not.toBe('')
})

const kernel = systemCallProbes
const hostNetwork = ['network', 'abstract sockets']
const machine = ['files of the machine', 'shared folders', 'devices', ...hostNetwork]
const withoutFilter = seccompFilter() === null ? kernel : []
const alone = [
  'own user',
  'platform files',
  'login files',
  'platform sockets',
  'other apps’ files',
  'other apps’ sockets',
]

/** What these walls are known to let through; anything else that gets through is a hole. */
const knownHoles: Record<string, string[]> = {
  bubblewrap: [...hostNetwork, ...withoutFilter, 'control group'],
  'bubblewrap as root': [...hostNetwork, ...withoutFilter, 'control group'],
  'user-namespace': [...machine, ...kernel, 'rights', 'control group'],
  'user-namespace, host /proc': [...machine, ...kernel, 'rights', 'control group', 'other processes'],
  'root-namespace': [...machine, ...kernel, 'rights', 'control group'],
  // A daemon that takes the mark out of its environment is not found.
  group: [...machine, ...kernel, 'rights', 'control group', 'other processes', 'daemons'],
}
// The platform's own user behind a process group is the platform: it reads and signals whatever the platform does.
const holesOfOwnUser: Record<string, string[]> = {
  bubblewrap: ['own user'],
  'user-namespace': alone,
  'user-namespace, host /proc': [...alone, 'platform process', 'secrets of processes'],
  group: [...alone, 'platform process', 'secrets of processes', 'signals'],
}

describe.each(walls)('behind $name', (confining: Walls) => {
  const allowed = [...(knownHoles[confining.name] ?? []), ...(isRoot ? [] : (holesOfOwnUser[confining.name] ?? []))]

  test('B1 B3 B5 B7 I1: nothing gets through but what these walls are known to let through', async () => {
    const findings = await tryEverything({ walls: confining })
    const holes = findings.filter(({ probe, held }) => held !== true && !allowed.includes(probe))
    expect(holes.map(({ probe, detail }) => `${rowOf(probe)} ${probe}: ${detail}`)).toEqual([])
  })
})

describe('B3: in a network of its own', () => {
  /** Something listens on every address this machine has. */
  async function everyAddress() {
    const server = createServer((socket) => socket.on('error', () => socket.destroy()).end()).listen(0)
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const addresses = hosts().map((host) => ({ host, port }))
    return { addresses, [Symbol.dispose]: () => void server.close() }
  }
  const hosts = () =>
    Object.values(networkInterfaces())
      .flatMap((found) => found ?? [])
      .map(({ address }) => address)
      .filter((address) => !/^fe80/.test(address))
  const networkOf = (findings: Finding[]) => findings.filter(({ probe }) => /^(network|abstract sockets)$/.test(probe))
  const closed = [expect.objectContaining({ held: true }), expect.objectContaining({ held: true })]

  test('a build reaches nothing of this machine, which it does in the host’s network', async () => {
    using all = await everyAddress()
    const open = networkOf(await tryEverything({ addresses: all.addresses }))
    expect(open).toEqual([expect.objectContaining({ held: false }), expect.objectContaining({ held: false })])
    // Other tests make networks of apps, and take them down.
    const lasting = all.addresses.filter(({ host }) => hosts().includes(host))
    expect(lasting).toContainEqual(expect.objectContaining({ host: '127.0.0.1' }))
    for (const { host, port } of lasting) expect(open[0]?.detail).toContain(`${host}:${port}`)

    const network = await makeListeningNamespace(3128)
    expect(networkOf(await tryEverything({ addresses: all.addresses, network }))).toEqual(closed)
    network.server.close()
    closeNamespace(network)
  })

  test('an app reaches nothing of this machine', async () => {
    using all = await everyAddress()
    const log = createLog('test')
    log.level = 'silent'
    const networks = await AppNetworks.open({ egressAllow: [], log })
    const { namespace, resolvers, release } = await networks.lease()
    const found = networkOf(await tryEverything({ addresses: all.addresses, network: namespace, resolvers }))
    release()
    await networks.close()
    if (networks.state.kind === 'filtered') expect(found).toEqual(closed)
  })
})

test('a report that is cut, forged or of the wrong shape proves nothing', async () => {
  const say = (lines: string) => async (program: Program) =>
    withoutWalls({ ...program, file: '/bin/sh', args: ['-c', `printf '%s' "$1" >&3`, 'sh', lines] })
  const forged =
    '{"probe":"network","seen":[]}\n{"probe":"nonsense","seen":["x"]}\n[1]\n{"probe":"signals","seen":7}\n{"pro'
  const findings = await tryEverything({ start: say(forged) })
  expect(findings.find(({ probe }) => probe === 'network')).toMatchObject({ held: true })
  expect(findings.find(({ probe }) => probe === 'nonsense')).toBeUndefined()
  expect(findings.find(({ probe }) => probe === 'signals')).toMatchObject({ held: null })
  expect(findings.find(({ probe }) => probe === 'platform files')).toEqual({
    probe: 'platform files',
    held: null,
    detail: 'it reported nothing',
  })
})
