import { z } from 'zod'

// The settings of `deployments.canary`. They live beside the registry's modules and not in rollouts/, because a build reads and checks them.

const warmupSec = 30

const stages = z.array(z.number().int().min(1).max(100)).min(1).check(risingStages)

const autoRollback = z.strictObject({
  /** Increase of the share of failed requests over the old deployment that is tolerated: 0.02 is two points. */
  errorRateThreshold: z.number().min(0).max(1).default(0.02),
  /** Factor on the old deployment's P95 that is tolerated. */
  latencyP95Threshold: z.number().min(1).max(100).default(1.5),
  /** … and never less than this many ms on top of it: a fast app may go from 2 to 4 ms. */
  latencyFloorMs: z.number().min(0).max(60_000).default(20),
  /** α: bound on the share of healthy rollouts that are rolled back. */
  falseRollbackRate: z.number().min(0.0001).max(0.2).default(0.01),
  /** Seconds of a stage whose latency does not count. Default: 30, or a tenth of a shorter window. */
  warmupSec: z.number().min(0).max(3600).optional(),
  /** Requests the new deployment must have had in a stage before the next one begins. */
  minRequests: z.number().int().min(1).max(1_000_000).default(100),
  /** What becomes of a stage that does not reach `minRequests`. */
  lowTraffic: z.enum(['proceed', 'wait', 'hold']).default('proceed'),
})

const settings = z.strictObject({
  stages: stages.default([5, 25, 50, 100]),
  observationWindowSec: z.number().min(1).max(86_400).default(300),
  autoRollback: autoRollback.prefault({}),
})

/** Names of the settings, for messages about one that is misspelt. */
export const rolloutSettingNames = {
  canary: Object.keys(settings.shape),
  autoRollback: Object.keys(autoRollback.shape),
}

/** Reads `deployments.canary` (when it is no 'skip') and fills in what was left out. Stages are percent and end at 100. */
export const rolloutPolicy = settings.check(warmupWithinWindow).transform(fillIn)

/** How one rollout is staged and judged. */
export type RolloutPolicy = z.infer<typeof rolloutPolicy>

export const defaultRolloutPolicy: RolloutPolicy = rolloutPolicy.parse({})

type Settings = z.infer<typeof settings>

function fillIn({ stages, observationWindowSec, autoRollback }: Settings) {
  return {
    stages: stages.at(-1) === 100 ? stages : [...stages, 100],
    observationWindowSec,
    autoRollback: {
      ...autoRollback,
      warmupSec: autoRollback.warmupSec ?? Math.min(warmupSec, observationWindowSec / 10),
    },
  }
}

function risingStages({ value, issues }: z.core.ParsePayload<number[]>): void {
  for (const [at, stage] of value.entries()) {
    const before = value[at - 1]
    if (before !== undefined && stage <= before) {
      const message = `must be greater than the stage before (${before})`
      issues.push({ code: 'custom', message, input: value, path: [at] })
    }
  }
}

function warmupWithinWindow({ value, issues }: z.core.ParsePayload<Settings>): void {
  const { observationWindowSec, autoRollback } = value
  if (autoRollback.warmupSec === undefined || autoRollback.warmupSec < observationWindowSec) return
  const message = `must be shorter than observationWindowSec (${observationWindowSec}), or no latency would be looked at`
  issues.push({ code: 'custom', message, input: value, path: ['autoRollback', 'warmupSec'] })
}
