// The first script of a host of kind `process`: it starts the app's command on a port, relays the platform's socket to it once it listens,
// reports over the control pipe, and ends as the command ends. Node builtins only; it runs without its types from the runtime folder.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeSync } from 'node:fs'
import net, { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { HostReport } from './isolate-boot.ts'
import { type Listener, processesHere, readListeners } from './process-ports.ts'
import { signOfLife } from './process-pulse.ts'
import { Relay, type Target } from './process-relay.ts'

export type ProcessSpec = {
  file: string
  args: string[]
  /** Variables the command line sets itself: `NODE_ENV=production node server.js`. */
  env: Record<string, string>
  /** Absolute. */
  cwd: string
  listenFd: number
  controlFd: number
  /** Nobody else is in this network namespace: every port is free. */
  ownNetwork: boolean
}
type End = { code: number | null; signal: NodeJS.Signals | null }

const usualPort = 3000
const startAttempts = 3
const lookEveryMs = 25
const lookAtAllEveryMs = 500
const otherPortAloneMs = 5000
const handOnMs = 2000

const spec: ProcessSpec = JSON.parse(process.argv[2] ?? '')
let child: ChildProcess | null = null
let isStopping = false

const control = new Socket({ fd: spec.controlFd, readable: true, writable: true })
const endWithParent = () => {
  signalGroup('SIGKILL')
  process.kill(process.pid, 'SIGKILL')
}
control.on('error', endWithParent)
control.on('close', endWithParent)
control.resume()

// The launcher tells every process of the tree to stop; a second SIGTERM from here would end an app that takes it for impatience.
process.on('SIGTERM', () => {
  isStopping = true
})

for (let attempt = 1; ; attempt++) {
  const port = spec.ownNetwork ? usualPort : await freePort()
  report({ port })
  const ended = start(port)
  const found = await untilListening(port, ended)
  if (found === 'taken') signalGroup('SIGKILL')
  const relay = found && found !== 'taken' ? openRelay(found, port) : null
  const end = await ended
  // Somebody else was faster between the choice of the port and the app's listen().
  if (!relay && !isStopping && attempt < startAttempts && (found === 'taken' || (await isTaken(port)))) {
    signalGroup('SIGKILL')
    continue
  }
  await finish(end, relay)
}

function start(port: number): Promise<End> {
  const { ATELIER_NODE_OPTIONS, ...env } = process.env
  const started = spawn(spec.file, spec.args, {
    cwd: spec.cwd,
    env: {
      ...env,
      ...(ATELIER_NODE_OPTIONS && { NODE_OPTIONS: ATELIER_NODE_OPTIONS }),
      PORT: String(port),
      ...spec.env,
    },
    // A group of its own: what a shell has started can be waited for when the shell is gone.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  child = started
  return new Promise((settle) => {
    started.once('exit', (code, signal) => settle({ code, signal }))
    started.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EACCES' ? 'ATELIER_NOT_EXECUTABLE' : 'ATELIER_NOT_FOUND'
      report({ error: { name: 'Error', message: spec.file, stack: '', code, unset: [] } })
      settle({ code: code === 'ATELIER_NOT_FOUND' ? 127 : 126, signal: null })
    })
  })
}

/** Where the app accepts connections; `taken`: somebody else does at its port; null: it has ended. */
async function untilListening(port: number, ended: Promise<End>): Promise<Target | 'taken' | null> {
  const hasEnded = ended.then(() => true as const)
  let otherPort: number | null = null
  let otherSince = 0
  for (let lookedAt = performance.now(); ; ) {
    if (await Promise.race([hasEnded, wait(lookEveryMs, false)])) return null
    const target = await acceptingAt(port)
    if (target) return isOurs(port) ? target : 'taken'
    if (performance.now() - lookedAt < lookAtAllEveryMs) continue

    lookedAt = performance.now()
    const found = readListeners() ?? { tcp: [], unix: [] }
    report({ listeners: { tcp: found.tcp.slice(0, 20), unix: found.unix.slice(0, 5) } })
    const other = onlyPort(found.tcp)
    if (other !== otherPort) {
      otherPort = other
      otherSince = lookedAt
    }
    // Versions overlap during a deploy, and in a network they share they cannot both have a fixed port.
    if (!spec.ownNetwork || otherPort === null || lookedAt - otherSince < otherPortAloneMs) continue
    const instead = await acceptingAt(otherPort)
    if (!instead) continue
    say(
      `the app listens on port ${otherPort} and not on PORT (${port}); port ${otherPort} is used, and listening on PORT would start it ${otherPortAloneMs / 1000} s sooner`,
    )
    return instead
  }
}

function openRelay(target: Target, port: number): Relay {
  const relay = new Relay(spec.listenFd, target)
  // Asked one at a time.
  control.on('data', () => void signOfLife(relay).then(() => report({ alive: true, busy: 0 })))
  report({ listening: true, speaks: 'http' })
  if (target.port !== port) void preferPort(relay, port)
  return relay
}

// The port that was found may have been that of metrics, with the app still on its way.
async function preferPort(relay: Relay, port: number): Promise<void> {
  for (;;) {
    await wait(1000, undefined, { ref: false })
    const target = await acceptingAt(port)
    if (!target) continue
    relay.target = target
    return say(`the app listens on PORT (${port}) now, and that is used`)
  }
}

// As the command ended, once the rest of its group has when it was told to stop, and once its last answers are handed on.
async function finish({ code, signal }: End, relay: Relay | null): Promise<never> {
  while (isStopping && signalGroup(0)) await wait(20)
  if (!isStopping && code === 0 && processesHere().length > 0) report({ daemon: true })
  if (relay) await Promise.race([relay.close(), wait(isStopping ? 2 ** 30 : handOnMs)])
  if (signal) {
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
    await wait(1000)
  }
  process.exit(code ?? 1)
}

function isOurs(port: number): boolean {
  const found = readListeners()
  return found === null || found.tcp.some((listener) => listener.port === port)
}

// The inspector's port is never the app's.
function onlyPort(listeners: Listener[]): number | null {
  const ports = new Set(listeners.map(({ port }) => port).filter((port) => port !== 9229))
  const [port, ...more] = ports
  return port === undefined || more.length > 0 ? null : port
}

async function acceptingAt(port: number): Promise<Target | null> {
  for (const host of ['127.0.0.1', '::1']) if (await accepts({ host, port })) return { host, port }
  return null
}

function accepts(target: Target): Promise<boolean> {
  return new Promise((settle) => {
    const socket = net.connect(target)
    socket.once('connect', () => settle(true)).once('error', () => settle(false))
    socket.once('connect', () => socket.destroy())
  })
}

// Below the range from which the kernel gives out ports for outgoing connections, and not to be guessed.
async function freePort(): Promise<number> {
  const lowest = 10_000
  const highest = Math.min(32_767, ephemeralStart() - 1)
  for (let attempt = 0; attempt < 50 && highest - lowest > 1000; attempt++) {
    const port = process.getBuiltinModule('node:crypto').randomInt(lowest, highest)
    if (!(await isTaken(port))) return port
  }
  return (await bind(0)) ?? usualPort
}

function ephemeralStart(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10) || 32_768
  } catch (error) {
    if (error instanceof Error) return 32_768
    throw error
  }
}

async function isTaken(port: number): Promise<boolean> {
  return (await bind(port)) === null
}

// Binds and lets go again; null when the port is taken.
function bind(port: number): Promise<number | null> {
  return new Promise((settle) => {
    const server = net.createServer()
    server.once('error', (error: NodeJS.ErrnoException) => settle(error.code === 'EADDRINUSE' ? null : port))
    server.listen(port, () => {
      const { port: bound } = server.address() as net.AddressInfo
      server.close(() => settle(bound))
    })
  })
}

function signalGroup(signal: NodeJS.Signals | 0): boolean {
  if (child?.pid === undefined) return false
  try {
    return process.kill(-child.pid, signal)
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}

function say(text: string): void {
  writeSync(2, `atelier: ${text}\n`)
}

function report(message: HostReport): void {
  try {
    writeSync(spec.controlFd, `${JSON.stringify(message)}\n`)
  } catch (error) {
    // The reader is gone or does not read; its end closes the pipe, which ends this process.
    if (!(error instanceof Error)) throw error
  }
}
