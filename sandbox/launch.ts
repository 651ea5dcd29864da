import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { Duplex, type Readable } from 'node:stream'
import { AppError, messageOf } from '../registry/errors.ts'
import { ListeningSocket } from './listening-socket.ts'
import { ProgramTree } from './program-tree.ts'
import type { SandboxUser } from './users.ts'
import { findWalls, highestPassedDescriptor } from './walls.ts'
import { watch } from './watchdog.ts'

export type Limits = {
  timeoutMs?: number
  /** Of the whole tree, looked at once a second and more often near the limit. */
  memoryMb?: number
  /** Processes and threads the job may have at a time. */
  processes?: number
  /** Of `cwd` and all below it; also the largest size of one file. */
  diskMb?: number
  /** Standard output and standard error together. */
  outputBytes?: number
}

export type Program = {
  /** For messages: `npm ci`, `hello v17`. */
  name: string
  /** Absolute path of the executable. */
  file: string
  args: string[]
  cwd: string
  /** The whole environment; nothing is inherited. */
  env: Record<string, string>
  user: SandboxUser
  /** Paths outside `cwd` that the program needs. */
  readable?: string[]
  writable?: string[]
  /** Unix socket paths to bind; the program finds them listening on descriptors 3, 4, … */
  listen?: string[]
  /** A pipe on the next descriptor, over which the program reports; it ends when this process does. */
  control?: boolean
  limits: Limits
  onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void
  /** Aborting kills the tree at once. */
  signal?: AbortSignal
}

export type ExitCause = 'exit' | 'timeout' | 'memory' | 'disk' | 'output' | 'aborted' | 'stopped'
export type Exit = { code: number | null; signal: NodeJS.Signals | null; cause: ExitCause }

export type Launched = {
  /** The top of the job's tree in this process's view; the program itself may be a descendant of it. */
  pid: number
  /** Whatever comes out of it was written by the program: bound it and check it. */
  control: Readable | null
  /** Resolves, and never rejects, when the whole process tree is gone and all output was handed over. */
  exited: Promise<Exit>
  /** SIGTERM to every process of the tree, SIGKILL after `graceMs`. */
  stop(graceMs: number): Promise<Exit>
}

/**
 * Starts a program behind the walls this host offers: its own user, an empty environment, no terminal, a session of its own, caps.
 * The tree ends with the program, with a limit, with `stop`, and with this process, however that dies. Call it from the main
 * thread: the kernel takes the end of the starting thread for the end of the parent.
 * Throws SANDBOX_FAILED when the program cannot be started or a socket cannot be bound; a program that is not there exits with 127.
 */
export async function launch(program: Program): Promise<Launched> {
  const walls = await findWalls(program.user)
  await checkPlace(program)
  const sockets = await bindAll(program.listen ?? [])
  program.signal?.throwIfAborted()

  // One turn of the event loop, so that no connection is accepted here.
  for (const socket of sockets) socket.publish()
  const { file, args, env, ...as } = walls.confine(program)
  const descriptors = sockets.map((socket) => socket.descriptor)
  const child = spawn(file, args, {
    ...as,
    env,
    cwd: program.cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', ...descriptors, ...(program.control ? ['pipe' as const] : [])],
  })
  for (const socket of sockets) socket.release()

  const removeSockets = () => {
    for (const socket of sockets) socket.remove()
  }
  const pid = await startedAs(child, program).catch((thrown: unknown) => {
    removeSockets()
    throw thrown
  })
  return superviseTree(program, child, new ProgramTree(pid, walls), removeSockets)
}

function superviseTree(program: Program, child: ChildProcess, tree: ProgramTree, removeSockets: () => void): Launched {
  let cause: ExitCause = 'exit'
  const end = (why: ExitCause) => {
    if (cause === 'exit' || cause === 'stopped') cause = why
    tree.kill()
  }
  const onAbort = () => end('aborted')
  program.signal?.addEventListener('abort', onAbort, { once: true })
  if (program.signal?.aborted) onAbort()
  passOutput(program, child, end)
  const stopWatching = watch(tree, program, end)

  const finish = async (): Promise<Exit> => {
    const [code, signal]: [number | null, NodeJS.Signals | null] = await whenEnded(child)
    await tree.kill()
    await outputDrained(child)
    stopWatching()
    program.signal?.removeEventListener('abort', onAbort)
    removeSockets()
    const exit = tree.walls.hasInit ? asTheInitSaw(code, signal) : { code, signal }
    return { ...exit, cause: cause === 'exit' && exit.signal === 'SIGXFSZ' ? 'disk' : cause }
  }
  const exited = finish()
  const control = child.stdio.at(3 + (program.listen?.length ?? 0))
  return {
    pid: tree.pid,
    control: program.control && control instanceof Duplex ? control.on('error', () => control.destroy()) : null,
    exited,
    stop: async (graceMs) => {
      if (cause === 'exit' && !tree.isGone) cause = 'stopped'
      tree.terminate()
      const timer = setTimeout(() => tree.kill(), graceMs)
      return exited.finally(() => clearTimeout(timer))
    },
  }
}

async function checkPlace({ name, cwd }: Program): Promise<void> {
  const place = await stat(cwd).catch((cause: unknown) => {
    throw new AppError('SANDBOX_FAILED', `${name} cannot start in ${cwd}: ${messageOf(cause)}`, { cause })
  })
  if (!place.isDirectory()) throw new AppError('SANDBOX_FAILED', `${name} cannot start in ${cwd}: not a folder`)
}

async function bindAll(paths: string[]): Promise<ListeningSocket[]> {
  if (3 + paths.length > highestPassedDescriptor)
    throw new AppError('SANDBOX_FAILED', `${paths.length} sockets are more than a program can be given`)
  const bound = await Promise.allSettled(paths.map((path) => ListeningSocket.bind(path)))
  const failure = bound.find((result) => result.status === 'rejected')
  const sockets = bound.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  if (!failure) return sockets
  for (const socket of sockets) socket.release()
  throw failure.reason
}

async function startedAs(child: ChildProcess, { name }: Program): Promise<number> {
  try {
    await once(child, 'spawn')
  } catch (cause) {
    throw new AppError('SANDBOX_FAILED', `${name} cannot be started: ${messageOf(cause)}`, { cause })
  }
  // A later error is a signal that could not be sent; the end of the process is told by 'exit' all the same.
  child.on('error', () => child.emit('signal-failed'))
  if (child.pid === undefined) throw new AppError('SANDBOX_FAILED', `${name} has no process id`)
  return child.pid
}

function passOutput({ limits, onOutput }: Program, child: ChildProcess, end: (why: ExitCause) => void): void {
  let left = limits.outputBytes ?? Number.POSITIVE_INFINITY
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.on('data', (chunk: Buffer) => {
      if (left < 0) return
      const whole = chunk.length <= left
      onOutput?.(stream, whole ? chunk : chunk.subarray(0, left))
      left -= chunk.length
      if (!whole) end('output')
    })
  }
}

function whenEnded(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve([child.exitCode, child.signalCode])
  return new Promise((ended) => child.once('exit', (code, signal) => ended([code, signal])))
}

// The tree is gone, so both pipes are at their end, unless the program gave one away over another socket.
async function outputDrained(child: ChildProcess): Promise<void> {
  const open = [child.stdout, child.stderr].filter(
    (stream) => stream !== null && !stream.readableEnded && !stream.destroyed,
  )
  const drained = Promise.all(open.map((stream) => stream && new Promise((done) => stream.once('close', done))))
  const timer = setTimeout(() => open.forEach((stream) => void stream?.destroy()), 1000)
  await drained
  clearTimeout(timer)
}

// The shell that waits for the program reports its death by signal n as 128 + n.
function asTheInitSaw(code: number | null, signal: NodeJS.Signals | null): Omit<Exit, 'cause'> {
  if (code === null || code <= 128) return { code, signal }
  const name = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0]
  return name ? { code: null, signal: name as NodeJS.Signals } : { code, signal }
}
