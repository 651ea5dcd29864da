import type { LatencyHistogram } from './latency-histogram.ts'

// What edge processes tell of the requests they route. Everything is cumulative, so that a report that is lost, doubled or late changes nothing.

export type Arm = 'candidate' | 'baseline'

/** What `Counts` in rollouts/segments.ts says, but for the units whose hashes are reported. */
export type ReportedCounts = {
  requests: number
  tosses: number
  errorRequests: number
  /** Failed requests of units that cannot come back: no cookie came, and none was set. */
  errorUnits: number
  timedRequests: number
  /** Slow requests of the same kind of unit. */
  slowUnits: number
  tooSlowRequests: number
  refusedRequests: number
}

/** A visitor seen to fail, or to be slow, for the first time in the rollout by this edge process. `unit`: 16 hexadecimal digits. */
export type ReportedUnit = { metric: 'errors' | 'latency'; unit: string; segment: number; arm: Arm }

/** Of one edge process about one rollout. `bootId` is one life of that process, `seq` grows with each report. */
export type RolloutReport = {
  rolloutId: string
  bootId: string
  seq: number
  /** Every segment that was counted in since the boot, both arms. */
  segments: { segment: number; arm: Arm; counts: ReportedCounts; latency: LatencyHistogram }[]
  /** Those that have not been acknowledged yet. */
  units: ReportedUnit[]
  /** The paths that failed most on each arm, five at most. */
  failingPaths: { arm: Arm; path: string; status: number; count: number }[]
}

/** Ten seconds of a deployment on a route at one edge process, told once they are over. `at` is when they began, ms since 1970. */
export type RouteBin = {
  routeId: string
  deploymentId: string
  bootId: string
  at: number
  requests: number
  errors: number
  latency: LatencyHistogram
}
