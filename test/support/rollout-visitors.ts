import type { RolloutPolicy } from '../../registry/rollout-policy.ts'
import type { BadUnit } from '../../registry/rollouts/bad-units.ts'
import { addCounts, type Counts, noCounts } from '../../registry/rollouts/segments.ts'
import type { Random } from './random.ts'
import { drawLimits, lognormal, medianMs, sigma } from './rollout-latency.ts'
import type { Hour, Traffic } from './rollout-simulation.ts'
import { drawBefore, healthyApp } from './rollout-traffic.ts'

/** Visitors with cookies: each is in one arm, moves only from old to new, and has habits of its own. */
export type Crowd = {
  /** Visitors who are there at the same time, and how many requests one makes before another takes the place. */
  visitors: number
  requestsEach: number
  requestsPerSec: number
  errorRate: number
  /** Spread (σ of ln) of how slow the visitors' own networks are. */
  ownSpread: number
  /** How many times as slow the candidate is. */
  candidateFactor: number
  /** One visitor all of whose requests fail, with this share of the traffic. */
  brokenShare: number
  edges: number
  /** Count every bad request instead of every bad visitor: what is wrong with that is what this shows. */
  countRequests: boolean
}

export const crowd: Crowd = {
  visitors: 200,
  requestsEach: 5,
  requestsPerSec: 20,
  errorRate: 0.001,
  ownSpread: 0,
  candidateFactor: 1,
  brokenShare: 0,
  edges: 3,
  countRequests: false,
}

/** Traffic of a crowd, request by request. */
export function visitorTraffic(crowd: Crowd, policy: RolloutPolicy, random: Random): Traffic {
  let arrived = 0
  const arrive = () => ({
    unit: String(arrived++),
    toss: random.uniform(),
    factor: Math.exp(crowd.ownSpread * random.normal()),
  })
  const broken = arrive()
  const present = Array.from({ length: crowd.visitors }, arrive)
  const spread = Math.sqrt(sigma ** 2 + crowd.ownSpread ** 2) / sigma
  const tail = (ms: number) => lognormal(medianMs * (ms / medianMs) ** (1 / spread))
  // Its failures are in the history too: it did not come with the candidate.
  const errorRate = crowd.brokenShare + (1 - crowd.brokenShare) * crowd.errorRate
  const before = drawBefore({ ...healthyApp(crowd.requestsPerSec, errorRate), tail: () => tail }, random)
  const edges = Array.from({ length: crowd.edges }, () => ({
    errorUnits: new Map<string, BadUnit>(),
    slowUnits: new Map<string, BadUnit>(),
  }))

  const visit = (hour: Hour, arms: Record<BadUnit['arm'], Counts>) => {
    const isBroken = random.uniform() < crowd.brokenShare
    const place = Math.floor(random.uniform() * crowd.visitors)
    const isNew = !isBroken && random.uniform() * crowd.requestsEach < 1
    if (isNew) present[place] = arrive()
    const visitor = isBroken ? broken : present[place]
    const edge = edges[Math.floor(random.uniform() * crowd.edges)]
    if (!visitor || !edge) throw new Error('there is no such visitor or edge')
    const arm = visitor.toss < hour.weight ? 'candidate' : 'baseline'
    const hasFailed = isBroken || random.uniform() < crowd.errorRate
    const scale = visitor.factor * (arm === 'candidate' ? crowd.candidateFactor : 1)
    const ms = medianMs * scale * Math.exp(sigma * random.normal())
    const limits = hour.isWarm ? hour.limits : null
    const isSlow = limits !== null && ms > limits.slowMs
    const seen = { unit: visitor.unit, segment: hour.segment, arm } as const
    if (hasFailed && !edge.errorUnits.has(seen.unit)) edge.errorUnits.set(seen.unit, seen)
    if (isSlow && !edge.slowUnits.has(seen.unit)) edge.slowUnits.set(seen.unit, seen)
    arms[arm] = addCounts(arms[arm], {
      requests: 1,
      tosses: isNew ? 1 : 0,
      errorRequests: hasFailed ? 1 : 0,
      errorUnits: hasFailed && crowd.countRequests ? 1 : 0,
      timedRequests: limits ? 1 : 0,
      slowUnits: isSlow && crowd.countRequests ? 1 : 0,
      tooSlowRequests: limits && ms > limits.tooSlowMs ? 1 : 0,
      refusedRequests: 0,
    })
  }

  return {
    before,
    readLimits: () => drawLimits(tail, 900 * crowd.requestsPerSec, policy.autoRollback, random),
    step: (hour, stepSec) => {
      const arms = { candidate: noCounts, baseline: noCounts }
      for (let left = random.poisson(crowd.requestsPerSec * stepSec); left > 0; left--) visit(hour, arms)
      return arms
    },
    reports: (metric) => (crowd.countRequests ? [] : edges.map((edge) => [...edge[metric].values()])),
  }
}
