// The thread that holds one app. It makes the thread look like the process the app expects, then runs the app's entry.
// Node builtins only.
import { inspect } from 'node:util'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { onListening, redirectListen, type Speech } from './isolate-listen.ts'
import { actLikeAProcess } from './isolate-process.ts'
import type { AppRoute } from './isolate-routes.ts'

export type HostSpec = { kind: 'fetch' | 'server'; entry: string; listenFd: number; lanesFd: number | null }
export type Thrown = { name: string; message: string; stack: string; code: string | null; text: string }
type Call = { answer: MessagePort; done: Int32Array }
export type FromThread =
  | { listening: true; speaks: Speech }
  | { thrown: Thrown }
  | { alive: true }
  | { routes: AppRoute[] | null }
  | ({ chdir: string } & Call)
  | ({ umask: number } & Call)
export type ToThread = { stop: true } | { ping: true } | { routes: true }

const spec: HostSpec = workerData
const host = parentPort
if (!host) throw new Error('this script runs in a worker thread')

process.on('uncaughtExceptionMonitor', (error) => host.postMessage({ thrown: describe(error) } satisfies FromThread))
host.on('message', (message: ToThread) => {
  if ('stop' in message) stopApp()
  else if ('routes' in message) host.postMessage({ routes: knownRoutes() } satisfies FromThread)
  else host.postMessage({ alive: true } satisfies FromThread)
})
host.unref()

const server = redirectListen(spec.listenFd, spec.lanesFd)
onListening((speaks) => host.postMessage({ listening: true, speaks } satisfies FromThread))
actLikeAProcess(spec.entry, host)

let finish = () => server.drain()
let routes = (): AppRoute[] | null => null
if (spec.kind === 'fetch') {
  const { serveFetch } = await import('./isolate-fetch.ts')
  const served = await serveFetch(spec.entry, server)
  finish = served.finish
  routes = served.routes
} else {
  const { default: Module } = await import('node:module')
  Module.runMain(spec.entry)
}

// A list that throws when it is read is none.
function knownRoutes(): AppRoute[] | null {
  try {
    return routes()
  } catch (error) {
    process.stderr.write(`${inspect(error)}\n`)
    return null
  }
}

// An app that listens for SIGTERM ends itself; any other stops accepting, finishes what it has begun, and ends.
async function stopApp(): Promise<void> {
  if (process.listenerCount('SIGTERM') > 0) {
    process.emit('SIGTERM', 'SIGTERM', 15)
    return
  }
  await finish()
  process.exit(0)
}

function describe(error: unknown): Thrown {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : null
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error))
  return { name, message, stack: stack ?? '', code, text: inspect(error) }
}
