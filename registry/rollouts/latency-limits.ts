import type { LatencyHistogram } from '../latency-histogram.ts'
import type { RolloutPolicy } from '../rollout-policy.ts'

/** τ and τ′ of a stage, ms to the first byte. */
export type LatencyLimits = { slowMs: number; tooSlowMs: number }

const fewestSamples = 200

/** The share of requests that are slower than the P95, by its definition. */
export const slowShare = 0.05

/**
 * The limits that a stage counts slow requests against, frozen when it begins: τ is the P95 of the old deployment in the last 15 minutes (the upper
 * edge of its bucket), τ′ = max(ρ·τ, τ + floor) is what the policy tolerates. Two P95s are never compared: how many requests are slower than a
 * fixed limit is a share, and shares can be judged with few requests. Null below 200 samples: the stage does not look at latency.
 */
export function readLatencyLimits(
  recent: LatencyHistogram,
  autoRollback: RolloutPolicy['autoRollback'],
): LatencyLimits | null {
  const slowMs = recent.total < fewestSamples ? null : recent.quantileEdge(1 - slowShare)
  return slowMs === null ? null : { slowMs, tooSlowMs: tooSlow(slowMs, autoRollback) }
}

/** τ′ of τ, both in ms. */
export function tooSlow(
  slowMs: number,
  {
    latencyP95Threshold,
    latencyFloorMs,
  }: Pick<RolloutPolicy['autoRollback'], 'latencyP95Threshold' | 'latencyFloorMs'>,
): number {
  return Math.max(latencyP95Threshold * slowMs, slowMs + latencyFloorMs)
}
