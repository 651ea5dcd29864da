import { LatencyHistogram } from '../../../registry/latency-histogram.ts'
import type { SentBin } from '../../edge-messages.ts'

export const binMs = 10_000
// A timer may be a moment early.
const earlyMs = 100

/** A deployment, with the place for what is being counted of it. */
export type Binned = { readonly ref: { id: string }; bin: Bin | null }

/** What a deployment answered in ten seconds. */
export class Bin {
  readonly routeId: string
  requests = 0
  errors = 0
  #latency: LatencyHistogram | null = null

  constructor(routeId: string) {
    this.routeId = routeId
  }

  took(ms: number): void {
    this.#latency ??= new LatencyHistogram()
    this.#latency.add(ms)
  }

  get latency(): string {
    return this.#latency?.toText() ?? ''
  }
}

/**
 * What each production deployment answers in ten seconds, always: what a rollout's candidate is compared with is known before it begins. Bins begin at whole
 * ten seconds of this machine's clock; only those in use exist, and each is told when it is over.
 */
export class Bins {
  readonly #tell: (bins: SentBin[]) => void
  readonly #bootId: string
  #open: Binned[] = []
  #turn = 0
  #timer: NodeJS.Timeout

  constructor({ bootId, tell }: { bootId: string; tell: (bins: SentBin[]) => void }) {
    this.#bootId = bootId
    this.#tell = tell
    this.#timer = this.#wait()
  }

  /** The bin to count in now. */
  of(deployment: Binned, routeId: string): Bin {
    return deployment.bin ?? this.#begin(deployment, routeId)
  }

  /** Tells what has been counted, though its ten seconds are not over. */
  close(): void {
    clearTimeout(this.#timer)
    this.#tellAll()
  }

  #begin(deployment: Binned, routeId: string): Bin {
    const bin = new Bin(routeId)
    deployment.bin = bin
    this.#open.push(deployment)
    return bin
  }

  #wait(): NodeJS.Timeout {
    return setTimeout(
      () => {
        this.#tellAll()
        this.#timer = this.#wait()
      },
      binMs - ((Date.now() + earlyMs) % binMs) + earlyMs,
    )
  }

  #tellAll(): void {
    const open = this.#open
    const turn = this.#turn++
    this.#open = []
    const bins = open.flatMap((deployment): SentBin[] => {
      const { bin, ref } = deployment
      deployment.bin = null
      if (!bin) return []
      const { routeId, requests, latency } = bin
      // What broke off later than its head may be an error in a bin in which it was no request.
      const errors = Math.min(bin.errors, requests)
      return [{ routeId, deploymentId: ref.id, bootId: this.#bootId, turn, requests, errors, latency }]
    })
    if (bins.length > 0) this.#tell(bins)
  }
}
