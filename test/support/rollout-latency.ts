import { bucketEdge } from '../../registry/latency-histogram.ts'
import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import type { LatencyLimits } from '../../registry/rollouts/latency-limits.ts'
import type { Random } from './random.ts'

/** Share of the requests that take longer than `ms`. */
export type Tail = (ms: number) => number

/** Lognormal with P95 / P50 = 3.7. */
export const lognormal: Tail = (ms) => normalTail(Math.log(ms / medianMs) / sigma)

/** 95 % quick and 5 % slow: the P95 is at the edge of the cliff between them. */
export const cliff: Tail = (ms) =>
  0.95 * normalTail(Math.log(ms / 20) / 0.3) + 0.05 * normalTail(Math.log(ms / 400) / 0.3)

export const medianMs = 50
export const sigma = Math.log(3.7) / 1.645

/** The same app, `factor` times as slow. */
export function slower(tail: Tail, factor: number): Tail {
  return (ms) => tail(ms / factor)
}

/**
 * The limits from `samples` requests: their P95 as it falls out by chance (the k-th of n uniform order statistics is Beta(k, n + 1 − k)), in the
 * buckets of the real histogram.
 */
export function drawLimits(
  tail: Tail,
  samples: number,
  { latencyP95Threshold, latencyFloorMs }: RolloutPolicy['autoRollback'],
  random: Random,
): LatencyLimits | null {
  if (samples < 200) return null
  const rank = Math.ceil(0.95 * samples)
  const slowMs = bucketEdge(quantile(tail, random.beta(rank, samples + 1 - rank)))
  return { slowMs, tooSlowMs: Math.max(latencyP95Threshold * slowMs, slowMs + latencyFloorMs) }
}

function quantile(tail: Tail, share: number): number {
  let [low, high] = [Math.log(0.1), Math.log(120_000)]
  for (let halving = 0; halving < 40; halving++) {
    const middle = (low + high) / 2
    if (1 - tail(Math.exp(middle)) < share) low = middle
    else high = middle
  }
  return Math.exp((low + high) / 2)
}

/** P(Z > z), by Abramowitz and Stegun 26.2.17 (± 7.5e-8). */
function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z)
  const t = 1 / (1 + 0.2316419 * z)
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  return (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * series
}
