import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import type { Before } from '../../registry/rollouts/decide.ts'
import type { Random } from './random.ts'
import { FusedTraffic } from './rollout-fuse.ts'
import { percent, type Scenario } from './rollout-scenarios.ts'
import { type Arm, drawBefore, healthyApp } from './rollout-traffic.ts'

const processes = 2
const histories = 25
// The three stages in which there is something to compare with.
const comparedSec = 900

type Shared = { rps: number; sec: number; share: number; afterMs?: number }

/** A candidate that answers nothing but 503 from the first request on, beside a healthy old version. */
export function deadCandidate(rps: number, policy: RolloutPolicy, random: Random): FusedTraffic {
  const outage = { fromSec: 0, toSec: 3600, share: (arm: Arm) => (arm === 'candidate' ? 1 : 0), afterMs: 5 }
  return new FusedTraffic({ app: healthyApp(rps, 0.001), outage, processes }, policy, random)
}

function shared({ rps, sec, share, afterMs = 5 }: Shared): Scenario {
  const late = afterMs > 1000 ? `, each after ${afterMs / 1000} s` : ''
  return {
    what: `both cannot be reached, ${percent(share)} for ${sec} s, ${rps} requests/s${late}`,
    expected: { share: 0.006, isMost: true },
    prepare: (policy, random) => {
      const app = healthyApp(rps, 0.001)
      const befores: Before[] = []
      let turn = 0
      return () => {
        const index = turn++ % histories
        befores[index] ??= drawBefore(app, random)
        const fromSec = random.uniform() * (comparedSec - sec)
        const outage = { fromSec, toSec: fromSec + sec, share: () => share, afterMs }
        return new FusedTraffic({ app, outage, processes }, policy, random, befores[index])
      }
    },
  }
}

/** Healthy candidates behind the platform's own fuses, while what both versions need is away, at some time of the compared stages. */
export const outages: Scenario[] = [
  ...[10, 100].flatMap((rps) => [10, 30].flatMap((sec) => [0.3, 0.6, 1].map((share) => shared({ rps, sec, share })))),
  shared({ rps: 10, sec: 30, share: 1, afterMs: 10_000 }),
  shared({ rps: 100, sec: 10, share: 1, afterMs: 5_000 }),
]
