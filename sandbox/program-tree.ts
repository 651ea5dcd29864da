import type { ChildProcess } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import type { Cgroup } from './cgroups.ts'
import { descendantsOf, isAlive, processesWith, sendSignal, startTimeOf } from './process-tree.ts'
import type { Confined } from './walls.ts'

type End = { code: number | null; signal: NodeJS.Signals | null }

/** The processes of one launched program, from the first wrapper to the last daemon it left behind. */
export class ProgramTree {
  readonly pid: number
  /** How the top of the tree ended; others may still live. */
  readonly ended: Promise<End>
  readonly #child: ChildProcess
  readonly #startTime: number | null
  readonly #confined: Confined
  readonly #cgroup: Cgroup | null
  readonly #seen = new Map<number, number>()
  #isGone = false
  #isStruck = false

  /** `child` has just been spawned; `cgroup` is what it entered, if anything. */
  constructor(pid: number, child: ChildProcess, confined: Confined, cgroup: Cgroup | null) {
    this.pid = pid
    this.#child = child
    this.#startTime = startTimeOf(pid)
    this.#confined = confined
    this.#cgroup = cgroup
    this.ended = new Promise((settle) => {
      if (this.hasEnded) settle({ code: child.exitCode, signal: child.signalCode })
      else child.once('exit', (code, signal) => settle({ code, signal }))
    })
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** The living processes that are the program's own doing, wrappers left out. */
  members(): number[] {
    const below = this.#below()
    return this.#confined.hasInit ? below.slice(1) : [this.pid, ...below]
  }

  terminate(): void {
    if (this.#isGone) return
    for (const pid of this.members()) sendSignal(pid, 'SIGTERM')
    if (process.platform !== 'linux') this.#signalGroup('SIGTERM')
  }

  /** Ends every process of the tree and resolves when none is left; also finishes what the program's own end began. */
  async kill(): Promise<void> {
    for (let pauseMs = 1; !this.#isGone; pauseMs = Math.min(pauseMs * 2, 100)) {
      this.#isGone = !this.#killOnce(pauseMs === 100)
      if (!this.#isGone) await wait(pauseMs)
    }
  }

  // True when somebody was left. The kernel ends a PID namespace with its init, and the init ends with the program. Killing the
  // wrapper that waits for the init would report the end of the job before its processes are gone; killing the init makes the
  // wrapper complain, so that is for an init that has started no program yet or does not end by itself.
  #killOnce(initToo: boolean): boolean {
    this.#findStrays()
    const below = this.#below()
    const members = this.members()
    if (members.length > 0) this.#isStruck = true
    const targets = this.#isStruck && !initToo ? members : below
    for (const pid of targets) sendSignal(pid, 'SIGKILL')
    const inGroup = (targets.length === 0 || !this.#confined.hasInit) && this.#signalGroup('SIGKILL')
    // A group that only holds zombies still takes signals; where /proc tells them apart, it decides.
    const isLeft = process.platform === 'linux' ? below.some(isAlive) : inGroup
    return isLeft || (this.#isOurs() && isAlive(this.pid))
  }

  #signalGroup(signal: NodeJS.Signals): boolean {
    return this.#isOurs() && sendSignal(-this.pid, signal)
  }

  // Once the top process is reaped its number may name somebody else's; a group keeps it reserved as long as it has members.
  #isOurs(): boolean {
    const startTime = startTimeOf(this.pid)
    return startTime === null || startTime === this.#startTime
  }

  // A process that was seen once stays known by its start time, so that it is found again after its parents have ended.
  #below(): number[] {
    if (this.#isOurs()) this.#see(descendantsOf(this.pid))
    for (const [pid, startTime] of this.#seen) {
      if (startTimeOf(pid) !== startTime || !isAlive(pid)) this.#seen.delete(pid)
    }
    return [...this.#seen.keys()]
  }

  // Without a namespace a daemon is no descendant any more; it still is in its control group, or has the variable that marks its job.
  #findStrays(): void {
    if (this.#confined.hasInit) return
    const strays = this.#cgroup?.members() ?? (this.#confined.mark ? processesWith(this.#confined.mark) : [])
    this.#see(strays.filter((pid) => pid !== this.pid))
  }

  #see(pids: number[]): void {
    for (const pid of pids) {
      const startTime = startTimeOf(pid)
      if (startTime !== null) this.#seen.set(pid, startTime)
    }
  }
}
