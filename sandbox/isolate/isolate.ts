import { AppError, messageOf } from '../../registry/errors.ts'
import { type Exit, type Launched, launch, type Program } from '../launch.ts'
import { LineSplitter } from '../lines.ts'
import type { NetworkNamespace } from '../network/network.ts'
import { prepareRuntime, type Runtime } from '../runtime.ts'
import type { SandboxUser } from '../users.ts'
import type { HostReport, ReportedError } from './isolate-boot.ts'
import { explainExit, explainSilence, whyNotInThread } from './isolate-failure.ts'
import type { Speech } from './isolate-listen.ts'
import type { AppRoute } from './isolate-routes.ts'
import { lanesPath } from './lanes-path.ts'
import type { ProcessSpec } from './process-boot.ts'
import type { Listeners } from './process-ports.ts'
import { splitCommand } from './start-command.ts'

export type { ReportedError } from './isolate-boot.ts'
export { shownCommand } from './isolate-failure.ts'
export type { Speech } from './isolate-listen.ts'
export type { AppRoute } from './isolate-routes.ts'
export { type Probe, probe } from './probe.ts'

/** What an app's host runs: a file, in a worker thread; or any command, as a process beside a relay that carries the socket to its port. */
export type Runs = RunsInThread | RunsAsProcess
export type RunsInThread = {
  kind: 'fetch' | 'server'
  /** Relative to the bundle's folder. */
  entry: string
}
export type RunsAsProcess = {
  kind: 'process'
  /** As in a Procfile: through `sh -c` when it needs a shell. */
  command: string
  /** Where it starts, relative to the bundle's folder; `''`: there. */
  folder: string
}

export type IsolateSpec = {
  runs: Runs
  /** For messages: `hello v17`. */
  name: string
  home: string
  /** The bundle's folder, absolute; the app starts in it. */
  directory: string
  /**
   * The app's own variables. PATH, HOME, LANG, NODE_ENV, PORT and HOST are added where they are missing. Of a process PORT is always the
   * relay's choice.
   */
  env: Record<string, string>
  socketPath: string
  user: SandboxUser
  /** Of the host process and all it starts; the thread's heap gets most of it. */
  memoryMb: number
  /** Processes and threads the app may have at a time; default 256. */
  processes?: number
  /** Writable at /data, or where DATA_DIR says. */
  dataDir?: string | undefined
  /** One of its own; default: the host's network and name servers. */
  network?: NetworkNamespace
  resolvers?: string[]
  /** A line the app wrote, without its end, cut at 16 kB. */
  onLog: (stream: 'stdout' | 'stderr', line: string) => void
}

export type IsolateExit = Exit & {
  /** Why it ended, as a sentence for people with its code: `node src/index.js exited with 1: Cannot find module 'pg'`. */
  error: AppError
}

export type Isolate = {
  socketPath: string
  /** What is spoken on the socket; known when it is ready. */
  speaks(): Speech
  pid: number
  /**
   * Resolves when the app listens. Rejects with APP_CRASHED when it ended first, with APP_NOT_LISTENING when it ended well or when
   * `timeoutMs` passed; the message gives the likely cause and the last lines of stderr. The isolate is left running on a timeout.
   */
  ready(timeoutMs: number): Promise<void>
  /** Resolves, and never rejects, when no process of the isolate is left. */
  exited: Promise<IsolateExit>
  /** Why a thread could not hold the app and a process may: `addon.node cannot be loaded in a worker thread (…)`; else null. */
  needsProcess(): string | null
  /** Asks its thread for a sign of life, unless it owes one already. A process gives one as long as it accepts connections, or says anything on one. */
  ping(): void
  /** For how long it has owed a sign of life; 0 when it owes none. */
  silentMs(): number
  /** The share of the time between its last two signs of life in which the thread was at work; null: not known. */
  busy(): number | null
  /** What a fetch app says of its own routes, once it is ready; null: it keeps no list that is known, or gave none within `timeoutMs`. */
  routes(timeoutMs: number): Promise<AppRoute[] | null>
  /** As SIGTERM does: the app's handlers run, or its server drains; what is left after `graceMs` is killed. */
  stop(graceMs: number): Promise<IsolateExit>
}

/** Starts the host process of one deployment with one isolate in it; throws SANDBOX_FAILED when the process cannot be started. */
export async function startIsolate(spec: IsolateSpec): Promise<Isolate> {
  const runtime = await prepareRuntime(spec.home)
  const listening = Promise.withResolvers<void>()
  const heard: Heard = {
    stderr: [],
    error: null,
    listens: false,
    speaks: 'http',
    port: null,
    listeners: null,
    isDaemon: false,
    askedAt: null,
    busy: null,
    routes: [],
    onRoutes: null,
  }
  const lines = {
    stdout: new LineSplitter((line) => spec.onLog('stdout', line)),
    stderr: new LineSplitter((line) => {
      heard.stderr.push(line)
      if (heard.stderr.length > keptLines) heard.stderr.shift()
      spec.onLog('stderr', line)
    }),
  }
  const launched = await launch({
    name: spec.name,
    file: runtime.node,
    ...hostOf(spec, runtime),
    cwd: spec.directory,
    user: spec.user,
    readable: [spec.directory, ...runtime.paths],
    dataDir: spec.dataDir,
    network: spec.network,
    resolvers: spec.resolvers,
    listen: hasLanes(spec) ? [spec.socketPath, lanesPath(spec.socketPath)] : [spec.socketPath],
    control: true,
    onOutput: (stream, chunk) => lines[stream].push(chunk),
  })
  readReports(launched, heard, listening.resolve)

  let ended: Exit | null = null
  const exited = launched.exited.then((exit): IsolateExit => {
    for (const splitter of Object.values(lines)) splitter.end()
    ended = exit
    return { ...exit, error: explainExit(spec, exit, heard) }
  })
  return {
    socketPath: spec.socketPath,
    speaks: () => heard.speaks,
    pid: launched.pid,
    exited,
    needsProcess: () => (spec.runs.kind === 'process' ? null : whyNotInThread(ended, heard)),
    ready: (timeoutMs) => {
      const timer = Promise.withResolvers<never>()
      const timeout = setTimeout(() => timer.reject(explainSilence(spec, timeoutMs, heard)), timeoutMs)
      const early = exited.then(({ error }) => Promise.reject(error))
      return Promise.race([listening.promise, early, timer.promise]).finally(() => clearTimeout(timeout))
    },
    ping: () => {
      if (heard.askedAt !== null) return
      heard.askedAt = performance.now()
      launched.control?.write('?')
    },
    silentMs: () => (heard.askedAt === null ? 0 : performance.now() - heard.askedAt),
    busy: () => (spec.runs.kind === 'process' ? null : heard.busy),
    routes: (timeoutMs) => askRoutes(launched, heard, timeoutMs),
    stop: async (graceMs) => {
      await launched.stop(graceMs)
      return exited
    },
  }
}

/** What the host and the app said of themselves; every word of it is the app's. */
export type Heard = {
  stderr: string[]
  error: ReportedError | null
  listens: boolean
  speaks: Speech
  /** What PORT is to a process. */
  port: number | null
  /** Where its processes listen, as long as it is not ready. */
  listeners: Listeners | null
  /** The command ended well and left something running. */
  isDaemon: boolean
  /** When its thread was asked for a sign of life that it owes. */
  askedAt: number | null
  busy: number | null
  /** Of the app's list, as far as it has come. */
  routes: AppRoute[]
  /** Who waits for the list. */
  onRoutes: ((routes: AppRoute[] | null) => void) | null
}

// Shown are fewer; what Node prints of an error without a listener takes 30.
const keptLines = 50
const outputBytesPerSec = 4 * 1_048_576
const longestReports = 1_048_576
const longestRoutes = 4 * 1_048_576
const mostRoutes = 10_000

const listenFd = 3

function hasLanes({ runs }: IsolateSpec): boolean {
  return runs.kind === 'server'
}

type Host = Pick<Program, 'args' | 'env' | 'limits'>

function hostOf(spec: IsolateSpec, runtime: Runtime): Host {
  return spec.runs.kind === 'process' ? processHost(spec, spec.runs, runtime) : threadHost(spec, spec.runs, runtime)
}

function threadHost(spec: IsolateSpec, { kind, entry }: RunsInThread, runtime: Runtime): Host {
  const { directory, memoryMb } = spec
  const lanesFd = hasLanes(spec) ? listenFd + 1 : null
  const controlFd = (lanesFd ?? listenFd) + 1
  const host = { kind, entry: inside(directory, entry), listenFd, lanesFd, controlFd, heapMb: heapMb(memoryMb) }
  return {
    args: [runtime.boot, JSON.stringify(host)],
    env: { ...defaultEnv(directory, [runtime.bin]), PORT: '3000', HOST: '0.0.0.0', ...spec.env },
    limits: { memoryMb, processes: processesOf(spec), outputBytesPerSec },
  }
}

function processHost(spec: IsolateSpec, { command, folder }: RunsAsProcess, runtime: Runtime): Host {
  const { directory, memoryMb } = spec
  const cwd = inside(directory, folder)
  // Somebody's own command, in that somebody's own walls: what a shell makes of it is theirs.
  const plain = splitCommand(command) ?? { file: '/bin/sh', args: ['-c', command], env: {} }
  const host: ProcessSpec = { ...plain, cwd, listenFd, controlFd: listenFd + 1, ownNetwork: spec.network !== undefined }
  // As `npm start` does it: programs of dependencies are found by their names.
  const bins = [...new Set([cwd, directory])].map((folder) => `${folder}/node_modules/.bin`)
  const { NODE_OPTIONS = '', ...env } = spec.env
  return {
    args: [...relayOptions, runtime.processBoot, JSON.stringify(host)],
    env: {
      ...defaultEnv(directory, [...bins, runtime.bin]),
      // The relay is beside it: nobody else needs to reach its port.
      HOST: '127.0.0.1',
      npm_config_cache: '/tmp/.npm',
      npm_config_update_notifier: 'false',
      ...env,
      // Not for the host's own Node. V8 would plan with the memory of the whole machine.
      ATELIER_NODE_OPTIONS: [
        `--max-old-space-size=${heapMb(memoryMb)}`,
        `--require=${JSON.stringify(runtime.processOutput)}`,
        ...(NODE_OPTIONS ? [NODE_OPTIONS] : []),
      ].join(' '),
    },
    limits: { memoryMb: memoryMb + relayMb, processes: processesOf(spec) + relayThreads, outputBytesPerSec },
  }
}

// Every 64 kB that a relay reads are a buffer, and V8 lets 60 MB of them lie about before it looks.
const relayOptions = ['--expose-gc', '--max-semi-space-size=1', '--max-old-space-size=64']
// What the host itself takes is not taken from the app.
const relayMb = 48
const relayThreads = 16

function processesOf({ processes }: IsolateSpec): number {
  return processes ?? 256
}

/** A path in a bundle's folder. */
export function inside(directory: string, path: string): string {
  return [directory.replace(/\/$/, ''), path.replace(/^\.\//, '')].filter(Boolean).join('/')
}

// V8's limit does not count buffers and the process's own needs about 50 MB; the rest is watched from outside.
export function heapMb(memoryMb: number): number {
  return Math.max(32, Math.floor(memoryMb * 0.8 - 40))
}

/** What an app's programs find in their environment when nobody has set it. */
export function defaultEnv(directory: string, bins: string[]): Record<string, string> {
  return {
    PATH: [...bins, '/usr/local/bin', '/usr/bin', '/bin'].join(':'),
    HOME: directory,
    LANG: 'C.UTF-8',
    NODE_ENV: 'production',
  }
}

async function askRoutes({ control, exited }: Launched, heard: Heard, timeoutMs: number): Promise<AppRoute[] | null> {
  const { promise, resolve } = Promise.withResolvers<AppRoute[] | null>()
  heard.routes = []
  heard.onRoutes = resolve
  control?.write('/')
  const timeout = setTimeout(resolve, timeoutMs, null)
  void exited.then(() => resolve(null))
  return promise.finally(() => {
    clearTimeout(timeout)
    heard.onRoutes = null
  })
}

function readReports({ control }: Launched, heard: Heard, onListening: () => void): void {
  let waiting = ''
  let left = longestReports
  let leftOfRoutes = longestRoutes
  control?.setEncoding('utf8').on('data', (chunk: string) => {
    if (heard.onRoutes && leftOfRoutes > 0) leftOfRoutes -= chunk.length
    else left -= chunk.length
    if (left < 0) return void control.pause()
    const lines = (waiting + chunk).split('\n')
    waiting = lines.pop() ?? ''
    for (const line of lines) {
      const report = parseReport(line)
      if (report && 'listening' in report) {
        heard.listens = true
        heard.speaks = report.speaks
        onListening()
      }
      if (report && 'error' in report) heard.error = report.error
      if (report && 'port' in report) heard.port = report.port
      if (report && 'listeners' in report) heard.listeners = report.listeners
      if (report && 'daemon' in report) heard.isDaemon = true
      if (report && 'routes' in report) takeRoutes(report, heard)
      if (report && 'alive' in report && heard.askedAt !== null) {
        heard.askedAt = null
        heard.busy = report.busy
        // Asked for, and for as long as it runs.
        left += line.length + 1
      }
    }
  })
}

function takeRoutes({ routes, isLast }: Extract<HostReport, { routes: unknown }>, heard: Heard): void {
  if (routes) heard.routes.push(...routes.slice(0, mostRoutes - heard.routes.length))
  if (isLast) heard.onRoutes?.(routes && heard.routes)
}

function parseReport(line: string): HostReport | null {
  try {
    const report: unknown = JSON.parse(line)
    if (typeof report !== 'object' || report === null) return null
    if ('listening' in report) return { listening: true, speaks: readSpeech('speaks' in report ? report.speaks : null) }
    if ('error' in report && typeof report.error === 'object' && report.error !== null)
      return { error: readError(report.error) }
    if ('port' in report) return { port: numberOf(report.port) }
    if ('listeners' in report) return { listeners: readListeners(report.listeners) }
    if ('alive' in report)
      return { alive: true, busy: 'busy' in report ? Math.min(Math.max(Number(report.busy) || 0, 0), 1) : 0 }
    if ('routes' in report)
      return { routes: readRoutes(report.routes), isLast: 'isLast' in report && report.isLast === true }
    return 'daemon' in report ? { daemon: true } : null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw new AppError('INTERNAL', messageOf(thrown), { cause: thrown })
  }
}

// The app can write to that line, too. Only what is a text or a number is taken for one: what is asked of an object to become one may be
// a lie as well ({ "toString": 1 } throws), and it would be told to the platform's own process.
const textOf = (said: unknown, longest: number) => (typeof said === 'string' ? said.slice(0, longest) : '')
const numberOf = (said: unknown) => (typeof said === 'number' ? said : Number.NaN)

function readSpeech(said: unknown): Speech {
  return said === 'channel' || said === 'lanes' ? said : 'http'
}

function readError(error: object): ReportedError {
  const text = (name: string) => textOf(Reflect.get(error, name), 4000)
  const unset: unknown = Reflect.get(error, 'unset')
  return {
    name: text('name'),
    message: text('message'),
    stack: text('stack'),
    code: text('code') || null,
    unset: Array.isArray(unset) ? unset.slice(0, 5).map((name) => textOf(name, 100)) : [],
  }
}

function readRoutes(said: unknown): AppRoute[] | null {
  if (!Array.isArray(said)) return null
  return said
    .slice(0, mostRoutes)
    .map((one: unknown) => (Array.isArray(one) ? one : []))
    .map(([method, path, isMiddleware]) => [textOf(method, 20), textOf(path, 300), isMiddleware === true])
}

function readListeners(said: unknown): Listeners {
  const list = (from: unknown, name: string): unknown[] => {
    const value: unknown = typeof from === 'object' && from !== null ? Reflect.get(from, name) : null
    return Array.isArray(value) ? value.slice(0, 20) : []
  }
  const tcp = list(said, 'tcp').flatMap((one) => {
    if (typeof one !== 'object' || one === null) return []
    return [{ address: textOf(Reflect.get(one, 'address'), 50), port: numberOf(Reflect.get(one, 'port')) }]
  })
  return { tcp, unix: list(said, 'unix').map((path) => textOf(path, 200)) }
}
