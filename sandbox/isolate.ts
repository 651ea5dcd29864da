import { AppError, messageOf } from '../registry/errors.ts'
import type { HostReport, ReportedError } from './isolate-boot.ts'
import { explainExit, explainSilence } from './isolate-failure.ts'
import { type Exit, type Launched, launch } from './launch.ts'
import { LineSplitter } from './lines.ts'
import type { NetworkNamespace } from './network.ts'
import { prepareRuntime } from './runtime.ts'
import type { SandboxUser } from './users.ts'

export type { ReportedError } from './isolate-boot.ts'
export { type Probe, probe } from './probe.ts'

export type IsolateSpec = {
  /** For messages: `hello v17`. */
  name: string
  home: string
  kind: 'fetch' | 'server'
  /** The bundle's folder, absolute; the app starts in it. */
  directory: string
  /** The file to run, relative to `directory`. */
  entry: string
  /** The app's own variables. PATH, HOME, LANG, NODE_ENV, PORT and HOST are added where they are missing. */
  env: Record<string, string>
  socketPath: string
  user: SandboxUser
  /** Of the host process and all it starts; the thread's heap gets most of it. */
  memoryMb: number
  /** Processes and threads the app may have at a time; default 256. */
  processes?: number
  /** Default: the host's network and name servers. */
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
  pid: number
  /**
   * Resolves when the app listens. Rejects with APP_CRASHED when it ended first, with APP_NOT_LISTENING when it ended well or when
   * `timeoutMs` passed; the message gives the likely cause and the last lines of stderr. The isolate is left running on a timeout.
   */
  ready(timeoutMs: number): Promise<void>
  /** Resolves, and never rejects, when no process of the isolate is left. */
  exited: Promise<IsolateExit>
  /** As SIGTERM does: the app's handlers run, or its server drains; what is left after `graceMs` is killed. */
  stop(graceMs: number): Promise<IsolateExit>
}

/** Starts the host process of one deployment with one isolate in it; throws SANDBOX_FAILED when the process cannot be started. */
export async function startIsolate(spec: IsolateSpec): Promise<Isolate> {
  const runtime = await prepareRuntime(spec.home)
  const listening = Promise.withResolvers<void>()
  const heard: Heard = { stderr: [], error: null, listens: false }
  const lines = {
    stdout: new LineSplitter((line) => spec.onLog('stdout', line)),
    stderr: new LineSplitter((line) => {
      heard.stderr.push(line)
      if (heard.stderr.length > keptLines) heard.stderr.shift()
      spec.onLog('stderr', line)
    }),
  }
  const listenFd = 3
  const host = { kind: spec.kind, entry: resolveEntry(spec), listenFd, controlFd: listenFd + 1, heapMb: heapMb(spec) }
  const launched = await launch({
    name: spec.name,
    file: runtime.node,
    args: [runtime.boot, JSON.stringify(host)],
    cwd: spec.directory,
    env: { ...defaultEnv(spec, runtime.bin), ...spec.env },
    user: spec.user,
    readable: [spec.directory, ...runtime.paths],
    network: spec.network,
    resolvers: spec.resolvers,
    listen: [spec.socketPath],
    control: true,
    limits: { memoryMb: spec.memoryMb, processes: spec.processes ?? 256, outputBytesPerSec },
    onOutput: (stream, chunk) => lines[stream].push(chunk),
  })
  readReports(launched, heard, listening.resolve)

  const exited = launched.exited.then((exit): IsolateExit => {
    for (const splitter of Object.values(lines)) splitter.end()
    return { ...exit, error: explainExit(spec, exit, heard) }
  })
  return {
    socketPath: spec.socketPath,
    pid: launched.pid,
    exited,
    ready: (timeoutMs) => {
      const timer = Promise.withResolvers<never>()
      const timeout = setTimeout(() => timer.reject(explainSilence(spec, timeoutMs, heard)), timeoutMs)
      const ended = exited.then(({ error }) => Promise.reject(error))
      return Promise.race([listening.promise, ended, timer.promise]).finally(() => clearTimeout(timeout))
    },
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
}

const keptLines = 20
const outputBytesPerSec = 4 * 1_048_576
const longestReports = 1_048_576

function resolveEntry({ directory, entry }: IsolateSpec): string {
  return `${directory.replace(/\/$/, '')}/${entry.replace(/^\.\//, '')}`
}

// V8's limit does not count buffers and the process's own needs about 50 MB; the rest is watched from outside.
function heapMb({ memoryMb }: IsolateSpec): number {
  return Math.max(32, Math.floor(memoryMb * 0.8 - 40))
}

function defaultEnv({ directory }: IsolateSpec, bin: string): Record<string, string> {
  return {
    PATH: `${bin}:/usr/local/bin:/usr/bin:/bin`,
    HOME: directory,
    LANG: 'C.UTF-8',
    NODE_ENV: 'production',
    PORT: '3000',
    HOST: '0.0.0.0',
  }
}

function readReports({ control }: Launched, heard: Heard, onListening: () => void): void {
  let waiting = ''
  let left = longestReports
  control?.setEncoding('utf8').on('data', (chunk: string) => {
    left -= chunk.length
    if (left < 0) return void control.pause()
    const lines = (waiting + chunk).split('\n')
    waiting = lines.pop() ?? ''
    for (const line of lines) {
      const report = parseReport(line)
      if (report && 'listening' in report) {
        heard.listens = true
        onListening()
      }
      if (report && 'error' in report) heard.error = report.error
    }
  })
}

function parseReport(line: string): HostReport | null {
  try {
    const report: unknown = JSON.parse(line)
    if (typeof report !== 'object' || report === null) return null
    if ('listening' in report) return { listening: true }
    if ('error' in report && typeof report.error === 'object' && report.error !== null)
      return { error: readError(report.error) }
    return null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw new AppError('INTERNAL', messageOf(thrown), { cause: thrown })
  }
}

function readError(error: object): ReportedError {
  const text = (name: string) => String(Reflect.get(error, name) ?? '').slice(0, 4000)
  const unset: unknown = Reflect.get(error, 'unset')
  return {
    name: text('name'),
    message: text('message'),
    stack: text('stack'),
    code: text('code') || null,
    unset: Array.isArray(unset) ? unset.slice(0, 5).map((name) => String(name).slice(0, 100)) : [],
  }
}
