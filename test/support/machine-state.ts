import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { buffer } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { type CommandResult, run } from './command.ts'
import { plainEnv } from './platform.ts'

/** What this machine looks like to one program, made by namespaces of its own: real states, no stand-ins. Takes root. */
export type MachineState = {
  /** Programs of the system that are not there. */
  without?: string[]
  /** A folder on a disk of this size. */
  smallDisk?: { path: string; size: string }
  openFiles?: number
  /** User namespaces are switched off, and root of this machine is root of a namespace with all users in it. */
  noUserNamespaces?: true
  /** Rights that root lacks, as in a container: `sys_admin`. */
  noRights?: string[]
  /** Who runs it. */
  uid?: number
}

export async function runOn(
  state: MachineState,
  command: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<CommandResult> {
  const wholeEnv = { ...plainEnv(), ...env }
  if (state.noUserNamespaces) return runWithoutUserNamespaces([...wrapped(state), ...command], wholeEnv)
  const [program = '', ...args] = [...onMachine(state), ...command]
  return run(program, args, { env: wholeEnv })
}

/** The words before a command that runs it on such a machine, unless it has no user namespaces. */
export function onMachine(state: Omit<MachineState, 'noUserNamespaces'>): string[] {
  return ['unshare', '--mount', '--propagation', 'private', '--', ...wrapped(state)]
}

function wrapped({ without = [], smallDisk, openFiles, noUserNamespaces, noRights = [], uid }: MachineState): string[] {
  const prepare = [
    ...(noUserNamespaces ? ['mount -t proc proc /proc', 'sh -c "echo 0 > /proc/sys/user/max_user_namespaces"'] : []),
    ...without.map((path) => `mount --bind /dev/null ${path}`),
    ...(smallDisk ? [`mount -t tmpfs -o size=${smallDisk.size},mode=755 none ${smallDisk.path}`] : []),
  ]
  return [
    ...['sh', '-ec', [...prepare, 'exec "$@"'].join('\n'), 'sh'],
    ...(openFiles ? ['prlimit', `--nofile=${openFiles}:${openFiles}`, '--'] : []),
    ...(noRights.length > 0 ? ['setpriv', `--bounding-set=${noRights.map((name) => `-${name}`).join(',')}`, '--'] : []),
    ...(uid ? ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--'] : []),
  ]
}

// Its id maps can be written from outside only, once it is there; it waits for a line on its standard input.
async function runWithoutUserNamespaces(words: string[], env: NodeJS.ProcessEnv): Promise<CommandResult> {
  const started: ChildProcess = spawn(
    'unshare',
    [
      '--user',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--',
      'sh',
      '-c',
      'read go; exec "$@" < /dev/null',
      'sh',
      ...words,
    ],
    { env, stdio: ['pipe', 'pipe', 'pipe'] },
  )
  const output = Promise.all([buffer(started.stdout ?? process.stdin), buffer(started.stderr ?? process.stdin)])
  const closed = once(started, 'close')
  await once(started, 'spawn')
  while (!mapped(started.pid ?? 0)) await pause(5)
  started.stdin?.end('go\n')
  const [code]: (number | null)[] = await closed
  const [stdout, stderr] = await output
  return { code: code ?? null, stdout: stdout.toString(), stderr: stderr.toString() }
}

function mapped(pid: number): boolean {
  try {
    writeFileSync(`/proc/${pid}/uid_map`, '0 0 4294967294')
    writeFileSync(`/proc/${pid}/gid_map`, '0 0 4294967294')
    return true
  } catch {
    return false // it has no namespace of its own yet
  }
}
