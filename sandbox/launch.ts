import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { Duplex, type Writable } from 'node:stream'
import { AppError, messageOf } from '../registry/errors.ts'
import { dataMount } from './bubblewrap.ts'
import { Cgroup } from './cgroups.ts'
import { closeStrayDescriptors } from './descriptors.ts'
import { ListeningSocket } from './listening-socket.ts'
import type { NetworkNamespace } from './network/network.ts'
import { passOutput, whenDrained } from './output.ts'
import { ProgramTree } from './program-tree.ts'
import type { SandboxUser } from './users.ts'
import { type Confined, equip, findWalls, highestPassedDescriptor, pipesFor, type Walls } from './walls.ts'
import { watch } from './watchdog.ts'

export type Limits = {
  timeoutMs?: number
  /** Of the whole tree, looked at once a second and more often near the limit. */
  memoryMb?: number
  /** Processes and threads the job may have at a time. */
  processes?: number
  /** It gives way to everybody else who wants the processor (yielding-group.ts). Holds where there are control groups. */
  yields?: boolean
  /** Of `cwd`, the `writable` paths and all below them; also the largest size of one file. */
  diskMb?: number
  /** Standard output and standard error together; the job ends when it writes more. */
  outputBytes?: number
  /** What is read of each of the two in a second; a program that writes more waits. */
  outputBytesPerSec?: number
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
  /** Paths the program needs; of the rest it sees the system's programs, if the walls allow no more. `cwd`, unless it lies in one, is writable. */
  readable?: string[]
  writable?: string[]
  /** A folder that is writable at /data; where nothing can be put under other names it stays under its own. DATA_DIR says which. */
  dataDir?: string
  /** Default: the host's network. */
  network?: NetworkNamespace
  /** Addresses of the name servers it asks; default: the host's, and none in a network of its own. */
  resolvers?: string[]
  /** Unix socket paths to bind; the program finds them listening on descriptors 3, 4, … */
  listen?: string[]
  /** A pipe on the next descriptor, over which the program reports; it ends when this process does. */
  control?: boolean
  /** A pipe on its standard input; default: that is empty. */
  input?: boolean
  limits: Limits
  /** A promise has the program wait: nothing more is read of that stream before it settles. */
  onOutput?: (stream: 'stdout' | 'stderr', chunk: Buffer) => void | Promise<void>
  /** Aborting kills the tree at once. */
  signal?: AbortSignal
}

export type ExitCause = 'exit' | 'timeout' | 'memory' | 'disk' | 'output' | 'aborted' | 'stopped'
export type Exit = { code: number | null; signal: NodeJS.Signals | null; cause: ExitCause }

export type Launched = {
  /** The top of the job's tree in this process's view; the program itself may be a descendant of it. */
  pid: number
  /** Whatever comes out of it was written by the program: bound it and check it. What is written to it the program may not read. */
  control: Duplex | null
  /** Its standard input. */
  input: Writable | null
  /** Resolves, and never rejects, when the whole process tree is gone and all output was handed over. */
  exited: Promise<Exit>
  /** SIGTERM to every process of the tree, SIGKILL after `graceMs`. */
  stop(graceMs: number): Promise<Exit>
}

/**
 * Starts a program behind the walls this host offers: its own user, an empty environment, no terminal, a session of its own, caps.
 * The tree ends with the program, with a limit, with `stop`, and with this process, however that dies. Call it from the main
 * thread: the kernel takes the end of the starting thread for the end of the parent.
 * Throws SANDBOX_FAILED when the program cannot be started or a socket cannot be bound, and the signal's reason when it is aborted
 * already; a program that is not there exits with 127.
 */
export async function launch(given: Program, options: { walls?: Walls } = {}): Promise<Launched> {
  given.signal?.throwIfAborted()
  closeStrayDescriptors()
  const walls = options.walls ?? (await findWalls(given.user))
  const program = withDataDir(given, walls)
  checkEnvironment(program)
  await checkPlace(program)
  const sockets = await bindAll(program.listen ?? [])
  const cgroup = Cgroup.make(program.limits)
  try {
    const firstDescriptor = 3 + sockets.length + (program.control ? 1 : 0)
    const confined = walls.confine({ ...program, entrances: cgroup?.entrances, firstDescriptor })
    const child = spawnWith(sockets, program, confined)
    const pid = await pidOf(child)
    equip(child, confined, firstDescriptor)
    return supervise(program, { child, tree: new ProgramTree(pid, child, confined, cgroup), sockets, cgroup, confined })
  } catch (cause) {
    for (const socket of sockets) socket.remove()
    await cgroup?.remove()
    throw new AppError('SANDBOX_FAILED', `${program.name} cannot be started: ${messageOf(cause)}`, { cause })
  }
}

function withDataDir(program: Program, walls: Walls): Program {
  const { dataDir, env, writable = [] } = program
  if (!dataDir) return program
  if (walls.name.startsWith('bubblewrap')) return { ...program, env: { DATA_DIR: dataMount, ...env } }
  return { ...program, env: { DATA_DIR: dataDir, ...env }, writable: [...writable, dataDir] }
}

// One turn of the event loop, so that no connection is accepted here.
function spawnWith(sockets: ListeningSocket[], program: Program, confined: Confined): ChildProcess {
  const { file, args, env, uid, gid } = confined
  const descriptors = sockets.map((socket) => socket.descriptor)
  try {
    for (const socket of sockets) socket.publish()
    return spawn(file, args, {
      uid,
      gid,
      env,
      cwd: program.cwd,
      detached: true,
      stdio: [
        program.input ? 'pipe' : 'ignore',
        'pipe',
        'pipe',
        ...descriptors,
        ...(program.control ? ['pipe' as const] : []),
        ...pipesFor(confined),
      ],
    })
  } finally {
    for (const socket of sockets) socket.release()
  }
}

type Parts = {
  child: ChildProcess
  tree: ProgramTree
  sockets: ListeningSocket[]
  cgroup: Cgroup | null
  confined: Confined
}

function supervise(program: Program, { child, tree, sockets, cgroup, confined }: Parts): Launched {
  let cause: ExitCause = 'exit'
  const end = (why: ExitCause) => {
    if (cause === 'exit' || cause === 'stopped') cause = why
    tree.kill()
  }
  const onAbort = () => end('aborted')
  program.signal?.addEventListener('abort', onAbort, { once: true })
  if (program.signal?.aborted) onAbort()
  const output = passOutput(child, program, () => end('output'))
  const stopWatching = watch(tree, cgroup, program, end)

  const finish = async (): Promise<Exit> => {
    const { code, signal } = await tree.ended
    await tree.kill()
    await whenDrained(child, output)
    stopWatching()
    program.signal?.removeEventListener('abort', onAbort)
    for (const socket of sockets) socket.remove()
    if (cause === 'exit' && cgroup?.ranOutOfMemory()) cause = 'memory'
    await cgroup?.remove()
    const exit = confined.hasInit ? asTheInitSaw(code, signal) : { code, signal }
    return { ...exit, cause: cause === 'exit' && exit.signal === 'SIGXFSZ' ? 'disk' : cause }
  }
  const exited = finish()
  return {
    pid: tree.pid,
    control: controlOf(child, program),
    input: inputOf(child),
    exited,
    stop: (graceMs) => {
      if (cause === 'exit' && !tree.hasEnded) cause = 'stopped'
      tree.terminate()
      const timer = setTimeout(() => tree.kill(), graceMs)
      return exited.finally(() => clearTimeout(timer))
    },
  }
}

// A program that reads no further is no fault of the one that writes.
function inputOf({ stdin }: ChildProcess): Writable | null {
  return stdin?.on('error', () => stdin.destroy()) ?? null
}

async function checkPlace({ name, cwd }: Program): Promise<void> {
  const place = await stat(cwd).catch((cause: unknown) => {
    throw new AppError('SANDBOX_FAILED', `${name} cannot start in ${cwd}: ${messageOf(cause)}`, { cause })
  })
  if (!place.isDirectory()) throw new AppError('SANDBOX_FAILED', `${name} cannot start in ${cwd}: not a folder`)
}

// execve(2): MAX_ARG_STRLEN. Walls hand the environment on by other ways, and would fail late and say less.
const longestVariable = 131_071

function checkEnvironment({ name, env }: Program): void {
  for (const [variable, value] of Object.entries(env)) {
    if (Buffer.byteLength(variable) + Buffer.byteLength(value) + 1 > longestVariable)
      throw new AppError('SANDBOX_FAILED', `${name} cannot be started: the variable ${variable} is longer than 128 kB`)
    if (variable === '' || /[=\0]/.test(variable) || value.includes('\0'))
      throw new AppError('SANDBOX_FAILED', `${name} cannot be started: ${JSON.stringify(variable)} is no variable`)
  }
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

async function pidOf(child: ChildProcess): Promise<number> {
  await once(child, 'spawn')
  if (child.pid === undefined) throw new Error('it has no process id')
  return child.pid
}

function controlOf(child: ChildProcess, { listen = [], control }: Program): Duplex | null {
  const pipe = child.stdio.at(3 + listen.length)
  if (!control || !(pipe instanceof Duplex)) return null
  // A reset is the program's end, which `exited` tells.
  return pipe.on('error', () => pipe.destroy())
}

// The shell that waits for the program reports its death by signal n as 128 + n.
function asTheInitSaw(code: number | null, signal: NodeJS.Signals | null): Omit<Exit, 'cause'> {
  if (code === null || code <= 128) return { code, signal }
  const name = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0]
  return name ? { code: null, signal: name as NodeJS.Signals } : { code, signal }
}
