import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { furnish } from './bubblewrap.ts'
import { hostTool } from './host-tools.ts'
import type { NetworkNamespace } from './network/network.ts'
import type { SandboxUser } from './users.ts'

export type WallsName =
  | 'bubblewrap'
  | 'bubblewrap as root'
  | 'user-namespace'
  | 'user-namespace, host /proc'
  | 'root-namespace'
  | 'group'

/** What to spawn in the program's place. */
export type Confined = {
  file: string
  args: string[]
  env: Record<string, string>
  uid?: number
  gid?: number
  /** The program runs under an init of its own (PID 1 of a PID namespace): when that ends, nothing of the tree is left. */
  hasInit: boolean
  /** `NAME=value`, in the environment of the program and all it starts, where nothing better ties them together. */
  mark?: string
  /** To be read from the descriptors that follow the init's, or from `firstDescriptor` on where there is no init. */
  inputs: Buffer[]
}

export type Confinable = {
  file: string
  args: string[]
  cwd: string
  env: Record<string, string>
  user: SandboxUser
  limits: { processes?: number; diskMb?: number }
  readable?: string[]
  writable?: string[]
  dataDir?: string
  network?: NetworkNamespace
  resolvers?: string[]
  /** Files of control groups; the program enters them before it becomes its own user. */
  entrances?: string[]
  /** The first descriptor that is not the program's own. */
  firstDescriptor: number
}

/** How programs are walled in on this host: what the kernel and the installed tools allow, found by trying. */
export type Walls = {
  name: WallsName
  confine(program: Confinable): Confined
}

/**
 * The strongest walls that work here for this user; tried once per process and kind of user, about 30 ms.
 * - `bubblewrap`: the program's user first, then a room of its own (bubblewrap.ts) with a filter of system calls.
 * - `bubblewrap as root`: the same room where user namespaces are switched off: made by root, who becomes the program's user inside.
 * - `user-namespace`: without bubblewrap: a user + PID + mount namespace with its own /proc; the host's files are there as they are.
 * - `root-namespace`: neither bubblewrap nor user namespaces: PID + mount namespace made by root, then the user.
 * - `group`: a process group only; daemons are found by a variable in their environment, and may outlive a killed platform.
 */
export async function findWalls(user: SandboxUser): Promise<Walls> {
  const kind = user.uid === null ? 'own' : 'leased'
  const search = found.get(kind) ?? tryWalls(user)
  found.set(kind, search)
  return (await search)[0] ?? processGroup(null)
}

/** All walls that work here for this user, the strongest first. */
export async function tryWalls(user: SandboxUser): Promise<Walls[]> {
  if (process.platform !== 'linux') return [processGroup(null)]
  const isRoot = user.uid !== null
  const candidates = [
    bubblewrap(),
    isRoot ? bubblewrapAsRoot() : null,
    userNamespace(true),
    userNamespace(false),
    isRoot ? rootNamespace() : null,
    processGroup(hostTool('setpriv')),
  ]
  const tried = await Promise.all(candidates.map(async (walls) => (walls && (await holds(walls, user)) ? [walls] : [])))
  const works = tried.flat()
  return works.length > 0 ? works : [processGroup(null)]
}

const found = new Map<string, Promise<Walls[]>>()

async function holds(walls: Walls, user: SandboxUser): Promise<boolean> {
  const nothing = { file: '/bin/sh', args: ['-c', ':'], cwd: '/', env: {}, user, limits: {}, firstDescriptor: 3 }
  const confined = walls.confine(nothing)
  const { file, args, env, uid, gid } = confined
  const stdio: StdioOptions = ['ignore', 'ignore', 'ignore', ...pipesFor(confined)]
  return new Promise((settle) => {
    const child = spawn(file, args, { env, uid, gid, cwd: '/', timeout: 5000, stdio })
    child.once('error', () => settle(false)).once('exit', (code) => settle(code === 0))
    equip(child, confined, 3)
  })
}

/** The descriptors that walls need beside the program's own, as `spawn` takes them. */
export function pipesFor({ hasInit, inputs }: Confined): 'pipe'[] {
  return Array.from({ length: (hasInit ? 1 : 0) + inputs.length }, () => 'pipe' as const)
}

/** Writes what the program's walls want to read, and lets the init go on when it says it is there. What ends early says why by its exit. */
export function equip(child: ChildProcess, { hasInit, inputs }: Confined, firstDescriptor: number): void {
  const pipes = child.stdio.slice(firstDescriptor)
  const greeting = hasInit ? pipes.shift() : null
  if (greeting instanceof Duplex)
    greeting.on('error', () => greeting.destroy()).once('data', () => greeting.end('go\n'))
  for (const [index, bytes] of inputs.entries()) {
    const pipe = pipes[index]
    if (pipe instanceof Duplex) pipe.on('error', () => pipe.destroy()).end(bytes)
  }
}

// PID 1 has to reap orphans, and signals it has no handler for do not reach it, so the program is not PID 1 itself: a shell
// waits for it and reaps whatever else ends. A constant script; the program is its arguments. The shell's own word about a child
// that was killed goes to /dev/null, and what it added to the environment is taken out again. First it says on a descriptor that it is
// there and waits for an answer: what made the room asks the kernel to die with its parent only when the room is made, and a platform
// that was killed before that answers nothing.
const initScript =
  'unset PWD OLDPWD SHLVL; echo >&"$1"; read -r go <&"$1" || exit 125; eval "exec $1>&-"; shift; ' +
  'exec 9>&2 2>/dev/null; (exec 2>&9 9>&-; exec "$@"); exit $?'
const init = (descriptor: number) => ['/bin/sh', '-c', initScript, 'init', String(descriptor)]
// A shell knows descriptors of one digit, the init and its copy of standard error take one each.
export const highestPassedDescriptor = 7

// The kernel kills the process when its parent ends; it does not when the parent has ended by the time it is told to, and forgets when
// the process becomes another user. So that comes last, and a constant script looks whether the parent is still there.
const aliveScript = 'unset PWD OLDPWD SHLVL; [ "$PPID" = "$1" ] || exit 125; shift; exec "$@"'

function endingWithPlatform(setpriv: string, user: SandboxUser | null): string[] {
  const settings = [...(user ? [...becoming(user), '--no-new-privs'] : []), '--pdeathsig', 'KILL']
  return [setpriv, ...settings, '--', '/bin/sh', '-c', aliveScript, 'alive', String(process.pid)]
}

function bubblewrap(): Walls | null {
  const [bwrap, setpriv] = [hostTool('bwrap'), hostTool('setpriv')]
  if (!bwrap || !setpriv) return null
  return {
    name: 'bubblewrap',
    confine: (program) => {
      const { args, inputs } = furnish(furnishing(program), {
        firstDescriptor: program.firstDescriptor + 1,
        withUserNamespace: true,
      })
      const words = [
        ...asPlatform(program),
        ...[...endingWithPlatform(setpriv, program.user), bwrap, ...args],
        ...[...init(program.firstDescriptor), ...limited(program)],
      ]
      return { ...first(words), env: {}, hasInit: true, inputs }
    },
  }
}

// The last setpriv runs inside as root, with the right to become another user and no other.
function bubblewrapAsRoot(): Walls | null {
  const [bwrap, setpriv, env] = [hostTool('bwrap'), hostTool('setpriv'), hostTool('env')]
  if (!bwrap || !setpriv || !env) return null
  return {
    name: 'bubblewrap as root',
    confine: (program) => {
      // Without its rights root may not enter a folder that only the program's user may.
      const { args, inputs } = furnish(furnishing({ ...program, env: harmless(program.env) }), {
        chdir: '/',
        firstDescriptor: program.firstDescriptor + 1,
        withUserNamespace: false,
      })
      const words = [
        ...asPlatform(program),
        ...[...endingWithPlatform(setpriv, null), bwrap, ...args],
        ...[
          ...init(program.firstDescriptor),
          setpriv,
          ...becoming(program.user),
          '--inh-caps=-all',
          '--bounding-set=-all',
          '--no-new-privs',
          '--',
        ],
        ...[env, `--chdir=${program.cwd}`, ...limited(program)],
      ]
      return { ...first(words), env: {}, hasInit: true, inputs }
    },
  }
}

function furnishing({ user, cwd, env, readable = [], writable = [], dataDir, network, resolvers }: Confinable) {
  const { uid, gid } = user.uid === null ? ownIds() : user
  return { dataDir, cwd, env, readable, writable, user: { uid, gid }, resolvers: resolvers ?? (network ? [] : null) }
}

function ownIds(): { uid: number; gid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
}

function userNamespace(ownProc: boolean): Walls | null {
  const [setpriv, unshare] = [hostTool('setpriv'), hostTool('unshare')]
  if (!setpriv || !unshare) return null
  const namespaces = [
    ...['--user', '--map-current-user', '--pid', '--fork', '--kill-child=KILL'],
    ...(ownProc ? ['--mount-proc'] : []),
  ]
  return {
    name: ownProc ? 'user-namespace' : 'user-namespace, host /proc',
    confine: (program) => {
      const words = [
        ...asPlatform(program),
        ...[...endingWithPlatform(setpriv, program.user), unshare, ...namespaces, '--'],
        ...[...init(program.firstDescriptor), ...limited(program)],
      ]
      return { ...first(words), env: envOf(program), hasInit: true, inputs: [] }
    },
  }
}

function rootNamespace(): Walls | null {
  const [setpriv, unshare] = [hostTool('setpriv'), hostTool('unshare')]
  if (!setpriv || !unshare) return null
  return {
    name: 'root-namespace',
    confine: (program) => {
      const words = [
        ...asPlatform(program),
        ...[
          ...endingWithPlatform(setpriv, null),
          unshare,
          '--pid',
          '--fork',
          '--kill-child=KILL',
          '--mount-proc',
          '--',
        ],
        ...[...init(program.firstDescriptor), setpriv, ...becoming(program.user), '--no-new-privs', '--'],
        ...limited(program),
      ]
      return { ...first(words), env: envOf(program), hasInit: true, inputs: [] }
    },
  }
}

// The first program of the group ends with its launcher only where there is setpriv; without it the user is changed by libuv, which
// empties the supplementary groups, too.
function processGroup(setpriv: string | null): Walls {
  return {
    name: 'group',
    confine: (program) => {
      const { user, limits } = program
      const inner = limited(user.uid === null ? { ...program, limits: { ...limits, processes: undefined } } : program)
      const words = setpriv ? [...asPlatform(program), ...endingWithPlatform(setpriv, user), ...inner] : inner
      const mark = `ATELIER_JOB=${randomBytes(12).toString('hex')}`
      const env = { ...envOf(program), ATELIER_JOB: mark.slice('ATELIER_JOB='.length) }
      const ids = setpriv || user.uid === null ? {} : user
      return { ...first(words), env, hasInit: false, mark, inputs: [], ...ids }
    },
  }
}

// A constant script: writes its own id to the files before `--`, and becomes what stands after it.
const enterScript =
  'unset PWD OLDPWD SHLVL; while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'

/** What has to happen while the process is the platform's own still: entering its control groups and its network. */
function asPlatform({ entrances = [], network }: Confinable): string[] {
  const nsenter = hostTool('nsenter')
  const enter = entrances.length > 0 ? ['/bin/sh', '-c', enterScript, 'enter', ...entrances, '--'] : []
  if (!network) return enter
  if (!nsenter) throw new Error('a network of its own takes nsenter (util-linux)')
  // Read from this process's table, so that the descriptors themselves are never handed to the program.
  const held = (fd: number) => `/proc/${process.pid}/fd/${fd}`
  const user = network.userFd === null ? [] : [`--user=${held(network.userFd)}`, '--preserve-credentials']
  return [...enter, nsenter, ...user, `--net=${held(network.netFd)}`, '--']
}

function becoming(user: SandboxUser): string[] {
  return user.uid === null ? [] : ['--reuid', String(user.uid), '--regid', String(user.gid), '--clear-groups']
}

// Where programs of the system's own run as root with the program's environment, names that steer them do not get through.
function envOf({ env, user }: Confinable): Record<string, string> {
  return user.uid === null ? env : harmless(env)
}

function harmless(env: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !steersLinkerOrShell.test(name)))
}

const steersLinkerOrShell =
  /^(LD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|MALLOC_.*|BASH_.*|ENV|IFS|SHELLOPTS|PS4)$/

function first([file = '', ...args]: string[]): { file: string; args: string[] } {
  return { file, args }
}

// Set inside the namespace, where the number of processes counts this job's alone. Never RLIMIT_AS: V8 reserves large ranges.
function limited({ file, args, limits: { processes, diskMb } }: Confinable): string[] {
  const prlimit = process.platform === 'linux' ? hostTool('prlimit') : null
  if (!prlimit) return [file, ...args]
  return [
    prlimit,
    '--core=0',
    `--nofile=${Math.min(4096, hardOpenFiles())}`,
    ...(processes ? [`--nproc=${processes}`] : []),
    ...(diskMb ? [`--fsize=${diskMb * 1_048_576}`] : []),
    ...['--', file, ...args],
  ]
}

function hardOpenFiles(): number {
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
  return hard === undefined ? 4096 : Number(hard)
}
