// The main thread of a host: it starts the worker thread that holds the app, reports over the control pipe, and outlives whatever
// the thread does. Node builtins only; it runs without its types from the runtime folder.
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { inspect } from 'node:util'
import { SHARE_ENV, Worker } from 'node:worker_threads'
import type { FromThread, HostSpec, Thrown, ToThread } from './isolate.worker.ts'
import type { Speech } from './isolate-listen.ts'
import type { AppRoute } from './isolate-routes.ts'
import { findSyntaxError } from './isolate-syntax.ts'
import { unsetVariables } from './isolate-unset.ts'
import { type Listeners, readListeners } from './process-ports.ts'

export type ReportedError = { name: string; message: string; stack: string; code: string | null; unset: string[] }
export type HostReport =
  | { listening: true; speaks: Speech }
  | { error: ReportedError }
  | { exit: number }
  /** What PORT is; of a process only. */
  | { port: number }
  /** Where the app's processes listen, as long as it is not ready. */
  | { listeners: Listeners }
  | { daemon: true }
  /** The thread has answered to what was asked on the pipe; `busy` is the share of the time since the last answer in which it was at work. */
  | { alive: true; busy: number }
  /** A part of the app's own list, as often as asked. */
  | { routes: AppRoute[] | null; isLast: boolean }

const spec: HostSpec & { controlFd: number; heapMb: number } = JSON.parse(process.argv[2] ?? '')
const routesInReport = 100
const hasPlace = /^\S*\/.*:\d+$/m

// The pipe's other end is the edge or the worker that started this host. process.exit() can hang on a thread that is blocked in
// a system call, a signal does not.
const control = new Socket({ fd: spec.controlFd, readable: true, writable: true })
const endWithParent = () => process.kill(process.pid, 'SIGKILL')
control.on('error', endWithParent)
control.on('close', endWithParent)
// Asked is for the app's routes, or whether the thread still turns its event loop.
control.on('data', (asked) => {
  thread.postMessage((asked.includes('/') ? { routes: true } : { ping: true }) satisfies ToThread)
})

let thrown: Thrown | null = null

const thread = new Worker(new URL('./isolate.worker.mjs', import.meta.url), {
  name: 'app',
  env: SHARE_ENV,
  workerData: {
    kind: spec.kind,
    entry: spec.entry,
    listenFd: spec.listenFd,
    lanesFd: spec.lanesFd,
  } satisfies HostSpec,
  resourceLimits: { maxOldGenerationSizeMb: spec.heapMb },
})
let measured = thread.performance.eventLoopUtilization()
// A program that the app has started may be the one that listens, and the app itself never will.
const looking = setInterval(() => report({ listeners: readListeners() ?? { tcp: [], unix: [] } }), 2000)

thread.on('message', (message: FromThread) => {
  if ('listening' in message) {
    clearInterval(looking)
    report({ listening: true, speaks: message.speaks })
  }
  if ('routes' in message) reportRoutes(message.routes)
  if ('alive' in message) report({ alive: true, busy: measureLoad() })
  if ('thrown' in message) thrown = message.thrown
  if ('chdir' in message || 'umask' in message) serve(message)
})
thread.on('error', (error) => {
  const { name, message, stack, code, text } = thrown ?? describe(error)
  const place = name === 'SyntaxError' && !hasPlace.test(stack) ? findSyntaxError(spec.entry) : null
  // What Node prints when a process ends this way.
  writeSync(2, `${place ?? text}\n`)
  report({ error: { name, message, stack: place ?? stack, code, unset: unsetVariables(stack) } })
})
thread.on('exit', (code) => {
  report({ exit: code })
  process.exit(code)
})

process.on('SIGTERM', () => thread.postMessage({ stop: true } satisfies ToThread))
process.on('uncaughtException', (error) => writeSync(2, `${inspect(error)}\n`))

function measureLoad(): number {
  const now = thread.performance.eventLoopUtilization()
  const { utilization } = thread.performance.eventLoopUtilization(now, measured)
  measured = now
  return utilization
}

// chdir and umask belong to the process, so a thread may not call them; it blocks until this thread has done so for it.
function serve(call: Extract<FromThread, { answer: unknown }>): void {
  let answer: { value: number } | { code: string; errno: number }
  try {
    if ('chdir' in call) process.chdir(call.chdir)
    answer = { value: 'umask' in call ? process.umask(call.umask) : 0 }
  } catch (error) {
    const { code = 'EIO', errno = 0 } = error as NodeJS.ErrnoException
    answer = { code, errno }
  }
  call.answer.postMessage(answer)
  Atomics.store(call.done, 0, 1)
  Atomics.notify(call.done, 0)
}

function describe(error: unknown): Thrown {
  if (!(error instanceof Error))
    return { name: 'Error', message: String(error), stack: '', code: null, text: inspect(error) }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null
  return { name: error.name, message: error.message, stack: error.stack ?? '', code, text: inspect(error) }
}

// More than a pipe takes at once goes through the stream, which waits. Nobody is asked for routes while visitors are served.
function reportRoutes(routes: AppRoute[] | null): void {
  const write = (message: HostReport) => control.write(`${JSON.stringify(message)}\n`)
  if (!routes) return void write({ routes: null, isLast: true })
  for (let at = 0; at <= routes.length; at += routesInReport)
    write({ routes: routes.slice(at, at + routesInReport), isLast: at + routesInReport > routes.length })
}

function report(message: HostReport): void {
  try {
    writeSync(spec.controlFd, `${JSON.stringify(message)}\n`)
  } catch (error) {
    // The reader is gone or does not read; its end closes the pipe, which ends this process.
    if (!(error instanceof Error)) throw error
  }
}
