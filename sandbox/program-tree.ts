import { setTimeout as wait } from 'node:timers/promises'
import { descendantsOf, isAlive, membersOfSession, sendSignal, startTimeOf } from './process-tree.ts'
import type { Walls } from './walls.ts'

/** The processes of one launched program, from the first wrapper to the last daemon it left behind. */
export class ProgramTree {
  readonly pid: number
  readonly walls: Walls
  isGone = false
  #isStruck = false
  readonly #startTime: number | null
  readonly #seen = new Map<number, number>()

  constructor(pid: number, walls: Walls) {
    this.pid = pid
    this.walls = walls
    this.#startTime = startTimeOf(pid)
  }

  /** The living processes that are the program's own doing, wrappers left out. */
  members(): number[] {
    const [init, ...members] = this.#below()
    if (this.walls.hasInit) return init === undefined ? [] : members
    return [this.pid, ...(init === undefined ? [] : [init]), ...members]
  }

  terminate(): void {
    if (this.isGone) return
    for (const pid of this.members()) sendSignal(pid, 'SIGTERM')
    if (process.platform !== 'linux') this.#signalGroup('SIGTERM')
  }

  /** Ends every process of the tree and resolves when none is left; also finishes what the program's own end began. */
  async kill(): Promise<void> {
    for (let pause = 1; !this.isGone; pause = Math.min(pause * 2, 100)) {
      const left = this.#killOnce(pause === 100)
      if (!left) this.isGone = true
      else await wait(pause)
    }
  }

  // The kernel ends a PID namespace with its init, and the init ends with the program. Killing the wrapper that waits for the init
  // would report the end of the job before its processes are gone; killing the init makes the wrapper complain, so that is for
  // an init that has started no program yet or does not end by itself.
  #killOnce(initToo: boolean): boolean {
    const below = this.#below()
    const members = this.members()
    if (members.length > 0) this.#isStruck = true
    const targets = this.#isStruck && !initToo ? members : below
    for (const pid of targets) sendSignal(pid, 'SIGKILL')
    const inGroup = (targets.length === 0 || !this.walls.hasInit) && this.#signalGroup('SIGKILL')
    return inGroup || below.some(isAlive) || (this.#isOurs() && isAlive(this.pid))
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
    const strays = this.walls.hasInit ? [] : membersOfSession(this.pid).filter((pid) => pid !== this.pid)
    for (const pid of [...(this.#isOurs() ? descendantsOf(this.pid) : []), ...strays]) {
      const startTime = startTimeOf(pid)
      if (startTime !== null) this.#seen.set(pid, startTime)
    }
    for (const [pid, startTime] of this.#seen) {
      if (startTimeOf(pid) !== startTime || !isAlive(pid)) this.#seen.delete(pid)
    }
    return [...this.#seen.keys()]
  }
}
