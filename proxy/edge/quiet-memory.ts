import { getHeapStatistics } from 'node:v8'
import { FreeCores } from '../free-cores.ts'

export type QuietMemoryLimits = {
  lookEveryMs: number
  /** Between two times of giving back. */
  restMs: number
  /** So many of the machine's cores have nothing to do. */
  minFreeCores: number
}

const defaultLimits: QuietMemoryLimits = { lookEveryMs: 2_000, restMs: 60_000, minFreeCores: 0.8 }
// Of the event loop's time, from one look to the next.
const quietShare = 0.1
const worthBytes = 12 * 1_048_576

/**
 * Has memory given back when a process that was busy is quiet: V8 and the C library keep for the next burst what the last one took. That holds everything
 * up for some 50 ms, and for far longer where threads wait for a core: it is done when next to nobody is there to notice, on a machine that has one to
 * spare, and once a minute at most.
 */
export class QuietMemory {
  readonly #giveBack: () => void
  readonly #limits: QuietMemoryLimits
  readonly #timer: NodeJS.Timeout
  #use = performance.eventLoopUtilization()
  #least = bytesNow()
  #gaveBackAt = Number.NEGATIVE_INFINITY
  /** Since the look that found it worth while. */
  #cores: FreeCores | null = null

  constructor(giveBack: () => void, limits: Partial<QuietMemoryLimits> = {}) {
    this.#giveBack = giveBack
    this.#limits = { ...defaultLimits, ...limits }
    this.#timer = setInterval(() => this.#look(), this.#limits.lookEveryMs)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    if (!this.#isWorthIt()) {
      this.#cores = null
      return
    }
    if (!this.#cores) {
      this.#cores = new FreeCores()
      return
    }
    this.#cores.look()
    if (this.#cores.count < this.#limits.minFreeCores) return
    this.#cores = null
    this.#gaveBackAt = performance.now()
    this.#giveBack()
    this.#least = bytesNow()
  }

  #isWorthIt(): boolean {
    const use = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(use, this.#use)
    this.#use = use
    const bytes = bytesNow()
    this.#least = Math.min(this.#least, bytes)
    const isRested = performance.now() - this.#gaveBackAt >= this.#limits.restMs
    return isRested && utilization <= quietShare && bytes - this.#least >= worthBytes
  }
}

function bytesNow(): number {
  const { total_heap_size: heap, external_memory: external } = getHeapStatistics()
  return heap + external
}
