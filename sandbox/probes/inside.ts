// The escape suite's half behind the walls: tries what nothing behind walls should manage, and reports what it managed, one line of JSON
// for each probe, over the control pipe. Node builtins only; it runs without its types from the runtime folder.
import { spawn } from 'node:child_process'
import { readFileSync, writeSync } from 'node:fs'
import {
  type Address,
  huntInProcesses,
  leaveFiles,
  listDescriptors,
  listRights,
  type OutsideProcess,
  openDevices,
  openFiles,
  openProcess,
  reachAddresses,
  reachSockets,
  seeProcess,
  signalProcess,
} from './reach.ts'
import { type Sighting, trySystemCalls } from './system-calls.ts'

export type InsideSpec = {
  controlFd: number
  /** The process that runs the platform. */
  platform: OutsideProcess
  /** Files and folders of the platform's. */
  secretFiles: string[]
  /** Those of the person who started it: tokens, keys. */
  loginFiles: string[]
  /** Of the platform, of Docker and its like. */
  sockets: string[]
  /** Abstract names, without their leading NUL. */
  abstractSockets: string[]
  /** Of other apps. */
  otherFiles: string[]
  otherSockets: string[]
  /** What everybody on the machine may read. */
  machineFiles: string[]
  addresses: Address[]
  timeoutMs: number
  /** The name under which to leave a file in each of these folders. */
  leave: { name: string; folders: string[] }
  /** A pattern to look for in every process there is to see. */
  hunt: string | null
  /** Leaves daemons behind whose command line says this. */
  daemons: string | null
}

/** The probes this script reports, apart from the system calls. */
export type ProbeName =
  | 'platform files'
  | 'login files'
  | 'platform process'
  | 'platform sockets'
  | 'other processes'
  | 'signals'
  | 'secrets of processes'
  | 'descriptors'
  | 'rights'
  | 'other apps’ files'
  | 'other apps’ sockets'
  | 'files of the machine'
  | 'shared folders'
  | 'devices'
  | 'network'
  | 'abstract sockets'
  | 'daemons'

const spec: InsideSpec = JSON.parse(process.argv[2] ?? '')
const status = readFileSync('/proc/self/status', 'latin1')

// First, for whatever is opened later is this script's own.
report(listDescriptors(named('descriptors')))
const overNetwork = Promise.all([
  reachSockets(named('platform sockets'), spec.sockets),
  reachSockets(named('other apps’ sockets'), spec.otherSockets),
  reachSockets(
    named('abstract sockets'),
    spec.abstractSockets.map((name) => `\0${name}`),
  ),
  reachAddresses(named('network'), spec.addresses, spec.timeoutMs),
])
report(openFiles(named('platform files'), spec.secretFiles))
report(openFiles(named('login files'), spec.loginFiles))
report(openProcess(named('platform process'), spec.platform))
report(seeProcess(named('other processes'), spec.platform))
report(signalProcess(named('signals'), spec.platform))
report(listRights(named('rights'), status))
report(openFiles(named('other apps’ files'), spec.otherFiles))
report(openFiles(named('files of the machine'), spec.machineFiles))
report(leaveFiles(named('shared folders'), spec.leave.name, spec.leave.folders))
report(openDevices(named('devices')))
if (spec.hunt !== null) report(huntInProcesses(named('secrets of processes'), spec.hunt))
if (spec.daemons !== null) report(leaveDaemons(named('daemons'), spec.daemons))
for (const sighting of trySystemCalls(status)) report(sighting)
for (const sighting of await overNetwork) report(sighting)

function named(name: ProbeName): ProbeName {
  return name
}

// A session of its own, a shell that ends at once, a program that ignores the hang-up: nobody is its parent any more.
function leaveDaemons(probe: ProbeName, marker: string): Sighting {
  const forms = [
    `(setsid nohup sleep ${marker} </dev/null >/dev/null 2>&1 &)`,
    `(setsid sh -c "trap '' HUP TERM; (sleep ${marker} &)" &)`,
    `nohup sleep ${marker} >/dev/null 2>&1 &`,
  ]
  for (const script of forms)
    spawn('/bin/sh', ['-c', script], { detached: true, stdio: 'ignore', env: { PATH: '/usr/bin:/bin' } }).unref()
  return { probe, seen: [], note: `${forms.length} left` }
}

function report(sighting: Sighting): void {
  writeSync(spec.controlFd, `${JSON.stringify(sighting)}\n`)
}
