// A machine with a network around it, all of it in namespaces: run by `onMachine` with `unshare --net --mount`, as root. Beside it is a
// world, which holds a public address and the private ones that nobody should reach, with something listening at each.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EgressRule } from '../../registry/config.ts'
import { createLog } from '../../registry/log.ts'
import { launch } from '../../sandbox/launch.ts'
import { runTool } from '../../sandbox/network/app-namespace.ts'
import { type AppNetwork, AppNetworks } from '../../sandbox/network/app-network.ts'
import type { SandboxUser } from '../../sandbox/users.ts'

export const publicAddress = '203.0.113.7'
export const privateAddresses = ['10.0.0.5', '172.16.0.5', '192.168.0.5', '100.64.0.5', '169.254.169.254']
export const ports = [80, 5432, 6379, 9000]
export const ownAddress = '192.0.2.2'
const gateway = '192.0.2.1'

export type Place = { host: string; port: number }
export type Attempt = { place: Place; how: string; ms: number }
export type Order =
  | { do: 'open'; egressAllow?: EgressRule[] }
  | { do: 'lease' }
  | { do: 'release' | 'attempts' | 'listen'; network: number; places?: Place[] }
  | { do: 'attempts outside'; places: Place[] }
  | { do: 'tool'; file: string; args: string[] }
  | { do: 'refresh' | 'warnings' | 'close' | 'restart' }

const ip = '/usr/sbin/ip'

// Connects to each place and says how it ended and after how long.
const tryAll = `
  const { connect } = require('node:net')
  Promise.all(JSON.parse(process.argv[1]).map((place) => new Promise((done) => {
    const started = performance.now()
    const socket = connect(place)
    let heard = ''
    const end = (how) => { socket.destroy(); done({ place, how, ms: performance.now() - started }) }
    socket.on('data', (chunk) => { heard += chunk })
    socket.once('end', () => end(heard))
    socket.once('error', (error) => end(error.code))
    socket.setTimeout(4000, () => end('silence'))
  }))).then((ends) => console.log(JSON.stringify(ends)))
`

if (process.argv[2] === 'world') await beWorld()
else if (process.argv[2] === 'machine') await beMachine(Number(process.argv[3]))
else if (process.argv[2] === 'platform') await bePlatform()

async function beWorld(): Promise<void> {
  for (const port of ports) {
    for (const family of ['0.0.0.0'])
      createServer((socket) => void socket.on('error', () => {}).end(`world`)).listen(port, family)
  }
  const names: Record<string, string> = {
    'public.example': publicAddress,
    'private.example': privateAddresses[0] ?? '',
  }
  const dns = createSocket('udp4', (query, { port, address }) => dns.send(answerDns(query, names), port, address))
  dns.bind(53, () => process.send?.('ready'))
  process.once('disconnect', () => process.exit())
}

async function beMachine(uid: number): Promise<void> {
  const world = spawn('/usr/bin/unshare', ['--net', '--', process.execPath, import.meta.filename, 'world'], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  await once(world, 'message')
  await connectTo(world)
  for (const port of ports)
    createServer((socket) => void socket.on('error', () => {}).end('machine')).listen(port, '::')
  const scratch = await mkdtemp(join(tmpdir(), 'machine-'))
  await writeFile(join(scratch, 'resolv.conf'), `nameserver ${gateway}\n`, { mode: 0o644 })
  await runTool('/usr/bin/mount', ['--bind', join(scratch, 'resolv.conf'), '/etc/resolv.conf'])

  let platform = startPlatform(uid)
  process.on('message', async (order: Order) => {
    if (order.do === 'tool') process.send?.(await answered(() => runTool(order.file, order.args)))
    else if (order.do === 'restart') {
      platform.kill('SIGKILL')
      await once(platform, 'exit')
      platform = startPlatform(uid)
    } else platform.send(order)
  })
  process.once('disconnect', async () => {
    platform.disconnect()
    await once(platform, 'exit')
    world.disconnect()
    await rm(scratch, { recursive: true, force: true })
    process.exit()
  })
}

function startPlatform(uid: number): ChildProcess {
  const platform = fork(import.meta.filename, ['platform'], { ...(uid > 0 && { uid, gid: uid }) })
  return platform.on('message', (answer: Answer) => process.send?.(answer))
}

async function bePlatform(): Promise<void> {
  let networks: AppNetworks | null = null
  const leased: AppNetwork[] = []
  process.on('message', async (order: Order) => process.send?.(await answered(() => obey(order))))
  process.once('disconnect', async () => {
    await networks?.close()
    process.exit()
  })
  process.send?.({ done: process.pid })

  async function obey(order: Order): Promise<unknown> {
    switch (order.do) {
      case 'open':
        networks = await AppNetworks.open({ egressAllow: order.egressAllow ?? [], log: createLog('sandbox') })
        return networks.state
      case 'lease': {
        if (networks) leased.push(await networks.lease())
        return { network: leased.length - 1, resolvers: leased.at(-1)?.resolvers }
      }
      case 'release':
        return leased[order.network]?.release()
      case 'attempts':
        return attempts(order.places ?? [], leased[order.network])
      case 'listen':
        return listenIn(leased[order.network])
      case 'attempts outside':
        return attempts(order.places)
      case 'refresh':
        return networks?.refresh()
      case 'warnings':
        return networks?.warnings()
      case 'close':
        return networks?.close()
    }
  }
}

type Answer = { done: unknown } | { failed: string }

async function answered(work: () => unknown): Promise<Answer> {
  try {
    return { done: await work() }
  } catch (thrown) {
    return { failed: String(thrown) }
  }
}

async function attempts(places: Place[], network?: AppNetwork): Promise<Attempt[]> {
  let said = ''
  const launched = await launch({
    name: 'attempts',
    file: process.execPath,
    args: ['-e', tryAll, JSON.stringify(places)],
    cwd: '/',
    env: {},
    user: sandboxUser(),
    readable: [process.execPath],
    network: network?.namespace,
    resolvers: network?.resolvers,
    limits: { timeoutMs: 20_000 },
    onOutput: (_stream, chunk) => {
      said += chunk
    },
  })
  await launched.exited
  return JSON.parse(said)
}

/** Starts a listener in an app's network that stays, and says at which address. */
async function listenIn(network?: AppNetwork): Promise<string> {
  const script = `
    require('node:net').createServer((socket) => socket.end('app')).listen(8080, '0.0.0.0', () =>
      console.log(Object.values(require('node:os').networkInterfaces()).flat().find(({ internal }) => !internal).address))
  `
  const said = Promise.withResolvers<string>()
  await launch({
    name: 'listener',
    file: process.execPath,
    args: ['-e', script],
    cwd: '/',
    env: {},
    user: sandboxUser(),
    readable: [process.execPath],
    network: network?.namespace,
    resolvers: [],
    limits: {},
    onOutput: (_stream, chunk) => said.resolve(chunk.toString().trim()),
  })
  return said.promise
}

function sandboxUser(): SandboxUser {
  return process.getuid?.() === 0 ? { uid: 65_533, gid: 65_533 } : { uid: null, gid: null }
}

async function connectTo(world: ChildProcess): Promise<void> {
  const inside = `/proc/${world.pid}/ns/net`
  const lines = [
    'link set lo up',
    `link add wan0 type veth peer name wan0 netns ${world.pid}`,
    `address add ${ownAddress}/24 dev wan0`,
    'link set wan0 up',
  ]
  await runTool(ip, ['-batch', '-'], `${lines.join('\n')}\n`)
  const held = [publicAddress, ...privateAddresses].map((address) => `address add ${address}/32 dev lo`)
  const there = ['link set lo up', ...held, `address add ${gateway}/24 dev wan0`, 'link set wan0 up']
  await runTool('/usr/bin/nsenter', [`--net=${inside}`, '--', ip, '-batch', '-'], `${there.join('\n')}\n`)
  await runTool(ip, ['route', 'add', 'default', 'via', gateway])
}

// RFC 1035 §4.1: one question, one A record or none.
function answerDns(query: Buffer, names: Record<string, string>): Buffer {
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += length + 1
  }
  const question = query.subarray(12, at + 5)
  const address = query.readUInt16BE(at + 1) === 1 ? names[labels.join('.')] : undefined
  const head = Buffer.from(query.subarray(0, 12))
  head.writeUInt16BE(0x8180, 2)
  head.writeUInt16BE(address ? 1 : 0, 6)
  head.fill(0, 8)
  const record = address
    ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)])
    : Buffer.alloc(0)
  return Buffer.concat([head, question, record])
}

/** Seen from a test: the machine, with a platform on it that does as it is told. */
export class Machine implements AsyncDisposable {
  readonly #process: ChildProcess
  /** Process id of the platform. */
  platform = 0

  static async start({ uid = 0 } = {}): Promise<Machine> {
    const machine = new Machine(uid)
    machine.platform = (await machine.#answer()) as number
    return machine
  }

  private constructor(uid: number) {
    this.#process = spawn(
      '/usr/bin/unshare',
      ['--net', '--mount', '--', process.execPath, import.meta.filename, 'machine', String(uid)],
      {
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ATELIER_LOG_LEVEL: 'silent' },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    )
  }

  async order<Result>(order: Order): Promise<Result> {
    this.#process.send(order)
    return (await this.#answer()) as Result
  }

  /** Runs a program of the system on it, as root. */
  tool(file: string, ...args: string[]): Promise<string> {
    return this.order({ do: 'tool', file, args })
  }

  /** kill -9, and another in its place. */
  async restartPlatform(): Promise<void> {
    this.platform = await this.order({ do: 'restart' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const gone = once(this.#process, 'exit')
    this.#process.disconnect()
    await gone
  }

  async #answer(): Promise<unknown> {
    const ended = new AbortController()
    const onExit = () => ended.abort(new Error('the machine ended'))
    this.#process.once('exit', onExit)
    try {
      const [answer]: Answer[] = await once(this.#process, 'message', { signal: ended.signal })
      if (!answer || 'failed' in answer) throw new Error(answer?.failed)
      return answer.done
    } finally {
      this.#process.off('exit', onExit)
    }
  }
}
