import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { accessSync, constants, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../registry/errors.ts'
import type { SandboxUser } from './users.ts'

export type WallsName = 'user-namespace' | 'user-namespace, host /proc' | 'root-namespace' | 'group'

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
}
export type Confinable = {
  file: string
  args: string[]
  env: Record<string, string>
  user: SandboxUser
  limits: { processes?: number; diskMb?: number }
}

/** How programs are walled in on this host: what the kernel and the installed tools allow, found by trying. */
export type Walls = {
  name: WallsName
  confine(program: Confinable): Confined
}

/**
 * The strongest walls that work here for this user; tried once per process and kind of user, about 10 ms.
 * - `user-namespace`: the program's user first, then a user + PID + mount namespace with its own /proc.
 * - `root-namespace`: where user namespaces are switched off but the platform runs as root: PID + mount namespace, then the user.
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
  const ofRoot = user.uid === null ? null : rootNamespace()
  const candidates = [userNamespace(true), userNamespace(false), ofRoot, processGroup(tool('setpriv'))]
  const tried = await Promise.all(candidates.map(async (walls) => (walls && (await holds(walls, user)) ? [walls] : [])))
  const works = tried.flat()
  return works.length > 0 ? works : [processGroup(null)]
}

const found = new Map<string, Promise<Walls[]>>()

async function holds(walls: Walls, user: SandboxUser): Promise<boolean> {
  const { file, args, env, uid, gid } = walls.confine({ file: '/bin/sh', args: ['-c', ':'], env: {}, user, limits: {} })
  return new Promise((settle) => {
    execFile(file, args, { env, uid, gid, cwd: '/', timeout: 5000 }, (error) => settle(error === null))
  })
}

// PID 1 has to reap orphans, and signals it has no handler for do not reach it, so the program is not PID 1 itself: a shell
// waits for it and reaps whatever else ends. A constant script; the program is its arguments. The shell's own word about a child
// that was killed goes to /dev/null, and what it added to the environment is taken out again.
const initScript = 'unset PWD OLDPWD SHLVL; exec 9>&2 2>/dev/null; (exec 2>&9 9>&-; exec "$@"); exit $?'
export const highestPassedDescriptor = 8

const parentDies = ['--pdeathsig', 'KILL']

function userNamespace(ownProc: boolean): Walls | null {
  const [setpriv, unshare] = [tool('setpriv'), tool('unshare')]
  if (!setpriv || !unshare) return null
  const namespaces = [
    '--user',
    '--map-current-user',
    '--pid',
    '--fork',
    '--kill-child=KILL',
    ...(ownProc ? ['--mount-proc'] : []),
  ]
  return {
    name: ownProc ? 'user-namespace' : 'user-namespace, host /proc',
    confine: ({ file, args, env, user, limits }) => ({
      hasInit: true,
      file: setpriv,
      args: [
        ...['--no-new-privs', ...parentDies, '--', unshare, ...namespaces, '--', '/bin/sh', '-c', initScript, 'init'],
        ...limited(limits, file, args),
      ],
      env,
      ...spawnedAs(user),
    }),
  }
}

// Everything up to the last setpriv runs as root, so names that steer the dynamic linker or a shell do not get through.
function rootNamespace(): Walls | null {
  const [setpriv, unshare] = [tool('setpriv'), tool('unshare')]
  if (!setpriv || !unshare) return null
  return {
    name: 'root-namespace',
    confine: ({ file, args, env, user, limits }) => ({
      hasInit: true,
      file: setpriv,
      args: [
        ...[...parentDies, '--', unshare, '--pid', '--fork', '--kill-child=KILL', '--mount-proc', '--'],
        ...['/bin/sh', '-c', initScript, 'init'],
        ...[
          setpriv,
          '--reuid',
          String(user.uid),
          '--regid',
          String(user.gid),
          '--clear-groups',
          '--no-new-privs',
          '--',
        ],
        ...limited(limits, file, args),
      ],
      env: Object.fromEntries(Object.entries(env).filter(([name]) => !steersLinkerOrShell.test(name))),
    }),
  }
}

const steersLinkerOrShell =
  /^(LD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|MALLOC_.*|BASH_.*|ENV|IFS|SHELLOPTS|PS4)$/

// The first program of the group ends with its launcher only where there is setpriv.
function processGroup(setpriv: string | null): Walls {
  return {
    name: 'group',
    confine: ({ file, args, env, user, limits }) => {
      const inner = limited(user.uid === null ? { ...limits, processes: undefined } : limits, file, args)
      const [first = file, ...rest] = setpriv ? [setpriv, '--no-new-privs', ...parentDies, '--', ...inner] : inner
      const mark = randomBytes(12).toString('hex')
      return {
        hasInit: false,
        file: first,
        args: rest,
        env: { ...env, ATELIER_JOB: mark },
        mark: `ATELIER_JOB=${mark}`,
        ...spawnedAs(user),
      }
    },
  }
}

// libuv empties the supplementary groups, then sets gid and uid, before it executes anything.
function spawnedAs(user: SandboxUser): { uid?: number; gid?: number } {
  return user.uid === null ? {} : { uid: user.uid, gid: user.gid }
}

// Set inside the namespace, where the number of processes counts this job's alone. Never RLIMIT_AS: V8 reserves large ranges.
function limited({ processes, diskMb }: Confinable['limits'], file: string, args: string[]): string[] {
  const prlimit = process.platform === 'linux' ? tool('prlimit') : null
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

const tools = new Map<string, string | null>()

function tool(name: string): string | null {
  const known = tools.get(name)
  if (known !== undefined) return known
  const path = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].map((folder) => join(folder, name)).find(isExecutable) ?? null
  tools.set(name, path)
  return path
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'EACCES') return false
    throw thrown
  }
}
