import fc from 'fast-check'
import { expect, test } from 'vitest'
import { defaultRolloutPolicy, type RolloutPolicy, rolloutPolicy } from '../rollout-policy.ts'
import { decide, type Moment } from './decide.ts'
import { type Counts, noCounts, type Segment } from './segments.ts'

const policy = defaultRolloutPolicy
const withSettings = (autoRollback: object, other: object = {}): RolloutPolicy =>
  rolloutPolicy.parse({ ...other, autoRollback })

const counts = (requests: number, change: Partial<Counts> = {}): Counts => ({
  ...noCounts,
  requests,
  tosses: requests,
  timedRequests: requests,
  ...change,
})
const errors = (count: number) => ({ errorRequests: count, errorUnits: count })

const segment = (change: Partial<Segment> = {}): Segment => ({
  stage: 0,
  opens: 'stage',
  weight: 0.05,
  slowMs: 180,
  candidate: counts(50),
  baseline: counts(950),
  ...change,
})

const moment = (change: Partial<Moment> = {}): Moment => ({
  activeSec: 20,
  coverage: 1,
  uncoveredSec: 0,
  guard: { watchSec: 20, heldSec: null },
  probes: null,
  before: { recentRequests: 3000, failures: { errors: 18, requests: 18_000 }, burst: { errors: 1, latency: 1 } },
  ...change,
})
const atWindow = moment({ activeSec: 300, guard: { watchSec: 300, heldSec: null } })

test('a candidate that fails 4 of 68 where the old one fails 1 of 1290 is rolled back, with its numbers in a sentence', () => {
  const verdict = decide(
    [segment({ candidate: counts(68, errors(4)), baseline: counts(1290, errors(1)) })],
    policy,
    moment(),
  )
  expect(verdict).toMatchObject({ kind: 'rollback', cause: 'errors', remarks: [], cut: null })
  expect(verdict.sentence).toBe('errors 4/68 vs 1/1290 (evidence 3058, bar 750)')
})

test('a dead candidate is rolled back at its third failure and not before', () => {
  const failed = (count: number) => segment({ candidate: counts(count, errors(count)), baseline: counts(count * 19) })
  expect(decide([failed(2)], policy, moment())).toMatchObject({ kind: 'observe' })
  const verdict = decide([failed(3)], policy, moment())
  expect(verdict).toMatchObject({ kind: 'rollback', sentence: 'errors 3/3 vs 0/57 (evidence 876, bar 750)' })
})

test('a slow candidate is rolled back though no request of it ever came to an end', () => {
  const hung = segment({
    candidate: counts(20, { slowUnits: 20, tooSlowRequests: 20 }),
    baseline: counts(380, { slowUnits: 19 }),
  })
  const verdict = decide([hung], policy, moment())
  expect(verdict).toMatchObject({ kind: 'rollback', cause: 'latency' })
  expect(verdict.sentence).toMatch(
    /^slow 20\/20 vs 0\/380 \(over 270 ms; of 20 vs 19 visitors over 180 ms; evidence 10\^\d+, bar 750\)$/,
  )
})

test('the sentence says of how many visitors the failures were, and one visitor is no evidence however often it fails', () => {
  const one = segment({ candidate: counts(80, { errorRequests: 40, errorUnits: 1 }), baseline: counts(1500) })
  expect(decide([one], policy, moment())).toMatchObject({ kind: 'observe' })
  const five = segment({ candidate: counts(80, { errorRequests: 40, errorUnits: 5 }), baseline: counts(1500) })
  expect(decide([five], policy, moment()).sentence).toMatch(
    /^errors 40\/80 vs 0\/1500 \(of 5 vs 0 visitors; evidence \d+, bar 750\)$/,
  )
})

test('certainly worse and yet within the points that are tolerated over the old version is a remark', () => {
  const slightly = segment({ candidate: counts(50_000, errors(3250)), baseline: counts(950_000, errors(47_500)) })
  const before = { ...moment().before, failures: { errors: 900, requests: 18_000 } }
  const verdict = decide([slightly], policy, moment({ before }))
  expect(verdict).toMatchObject({ kind: 'observe' })
  expect(verdict.remarks).toEqual([expect.stringMatching(/^slightly worse, within tolerance: errors 3250\/50000 vs /)])

  const strict = withSettings({ errorRateThreshold: 0.001 })
  expect(decide([slightly], strict, moment())).toMatchObject({ kind: 'rollback', cause: 'errors' })
})

test('certainly slower and yet within the factor that is tolerated is a remark', () => {
  const slower = (tooSlowRequests: number) =>
    segment({
      candidate: counts(5000, { slowUnits: 500, tooSlowRequests }),
      baseline: counts(95_000, { slowUnits: 4750 }),
    })
  const verdict = decide([slower(150)], policy, moment())
  expect(verdict).toMatchObject({ kind: 'observe' })
  expect(verdict.remarks).toEqual([expect.stringMatching(/^slightly worse, within tolerance: slow 150\/5000 vs /)])
  expect(decide([slower(250)], policy, moment())).toMatchObject({ kind: 'rollback', cause: 'latency' })
})

test('a candidate that goes bad late is judged from mid-window on, at the higher bar', () => {
  const start = segment({ candidate: counts(400, errors(0)), baseline: counts(7600, errors(300)) })
  const late = segment({ opens: 'half', candidate: counts(100, errors(9)), baseline: counts(1900, errors(2)) })
  const verdict = decide([start, late], policy, moment({ activeSec: 200 }))
  expect(verdict).toMatchObject({ kind: 'rollback', cause: 'errors', reading: { opened: 1, opens: 'half' } })
  expect(verdict.sentence).toMatch(/^errors 9\/100 vs 2\/1900 \(evidence .*, bar 3000\)$/)
  const unseen = { ...late, opens: 'guard' as const }
  expect(decide([start, unseen], policy, moment({ activeSec: 200 }))).toMatchObject({ kind: 'observe' })
})

test('evidence adds up over stages', () => {
  const first = segment({ candidate: counts(60, errors(2)), baseline: counts(1140, errors(2)) })
  const second = (mine: number) =>
    segment({ stage: 1, weight: 0.25, candidate: counts(60, errors(mine)), baseline: counts(180, errors(3)) })
  const verdict = decide([first, second(6)], policy, moment())
  expect(verdict.numbers.errors?.lnEvidence).toBeCloseTo(5.000388, 6)
  expect(decide([first, second(9)], policy, moment())).toMatchObject({ kind: 'rollback' })
})

test('a history of bursts makes the same heap of failures weigh less', () => {
  const heap = segment({ candidate: counts(68, errors(4)), baseline: counts(1290, errors(1)) })
  const bursty = { ...moment().before, burst: { errors: 5, latency: 1 } }
  expect(decide([heap], policy, moment({ before: bursty }))).toMatchObject({ kind: 'observe' })
})

test('4xx are told and never a reason to roll back', () => {
  const storm = segment({
    candidate: counts(200, { refusedRequests: 190 }),
    baseline: counts(3800, { refusedRequests: 40 }),
  })
  const verdict = decide([storm], policy, atWindow)
  expect(verdict).toMatchObject({ kind: 'advance', next: 25 })
  expect(verdict.remarks).toEqual(['4xx answers 190/200 vs 40/3800: told, never a reason to roll back'])
})

test('both versions failing together hold the rollout, and roll it back only after a window of it', () => {
  const outage = [segment({ candidate: counts(20, errors(8)), baseline: counts(380, errors(152)) })]
  const trip = decide(outage, policy, moment())
  expect(trip).toMatchObject({ kind: 'hold', cause: 'guard', alert: true, cut: 'guard' })
  expect(trip.sentence).toBe(
    'held at 5 %: errors on both versions together, 160/400 lately (2.17 % tolerated); when that lasts for 300 s the new version is taken back',
  )

  const since = (opens: 'guard', candidate: Counts, baseline: Counts) => [
    ...outage,
    segment({ opens, candidate, baseline }),
  ]
  const still = since('guard', counts(150, errors(60)), counts(2850, errors(1140)))
  const waiting = { activeSec: 120, guard: { watchSec: 100, heldSec: 100 } }
  expect(decide(still, policy, moment(waiting))).toMatchObject({ kind: 'hold', cut: null })
  expect(decide(still, policy, moment({ guard: { watchSec: 150, heldSec: 150 } }))).toMatchObject({ cut: 'guard' })
  const lasting = decide(still, policy, moment({ guard: { watchSec: 150, heldSec: 300 } }))
  expect(lasting).toMatchObject({ kind: 'rollback', cause: 'guard' })
  expect(lasting.sentence).toMatch(
    /^errors 1200\/3000 on both versions together, for a window and longer \(2\.17 % tolerated; evidence 10\^\d+, bar 1000\)$/,
  )

  const over = since('guard', counts(150), counts(2850, errors(3)))
  const released = decide(over, policy, moment({ activeSec: 200, guard: { watchSec: 150, heldSec: 150 } }))
  expect(released).toMatchObject({ kind: 'observe', cut: 'half' })
})

test('at 100 % failing is rolled back at once, and slowness is a remark, for there is nothing beside it', () => {
  const before = segment()
  const alone = (candidate: Counts) => [before, segment({ stage: 3, weight: 1, candidate, baseline: noCounts })]
  const failing = decide(alone(counts(500, errors(60))), policy, moment())
  expect(failing).toMatchObject({ kind: 'rollback', cause: 'guard' })
  expect(failing.sentence).toMatch(/^errors 60\/500 at 100 % \(2\.17 % tolerated; evidence 10\^\d+, bar 1000\)$/)

  const slow = decide(alone(counts(500, { slowUnits: 300, tooSlowRequests: 200 })), policy, atWindow)
  expect(slow).toMatchObject({ kind: 'advance', next: null, confidence: 'full', sentence: 'done' })
  expect(slow.remarks).toEqual(['P95 over 1.5 × what it was before the rollout: 200/500 are slower'])
})

test('the stages follow each other when the window has passed and 100 requests have come', () => {
  const at = (stage: number, weight: number) =>
    segment({ stage, weight, candidate: counts(1000 * weight), baseline: counts(1000 * (1 - weight)) })
  const enough = segment({ candidate: counts(100), baseline: counts(1900) })
  expect(decide([], policy, moment())).toMatchObject({ kind: 'advance', next: 5, sentence: 'begins at 5 %' })
  expect(decide([enough], policy, moment({ activeSec: 299 }))).toMatchObject({ kind: 'observe', cut: 'half' })
  const verdict = decide([enough], policy, atWindow)
  expect(verdict).toMatchObject({ kind: 'advance', next: 25, confidence: 'full' })
  expect(verdict.sentence).toBe('5 % → 25 %: errors 0/100 vs 0/1900, evidence errors 1 of 750, latency 1 of 750')
  expect(decide([enough, at(1, 0.25)], policy, atWindow)).toMatchObject({ next: 50 })
  expect(decide([enough, at(1, 0.25), at(2, 0.5)], policy, atWindow)).toMatchObject({ next: 100 })
  expect(decide([enough, at(3, 1)], policy, atWindow)).toMatchObject({ next: null, sentence: 'done' })
  expect(decide([enough, at(1, 0.3)], policy, atWindow)).toMatchObject({ next: 50 })
  const odd = rolloutPolicy.parse({ stages: [29, 58] })
  expect(decide([at(0, 0.29)], odd, atWindow)).toMatchObject({ next: 58, numbers: { percent: 29 } })
})

test('a segment is cut at half of the window, once a stage', () => {
  expect(decide([segment()], policy, moment({ activeSec: 149 })).cut).toBeNull()
  expect(decide([segment()], policy, moment({ activeSec: 150 })).cut).toBe('half')
  expect(decide([segment(), segment({ opens: 'half' })], policy, moment({ activeSec: 160 })).cut).toBeNull()
})

test.each<[string, object, number, number, object]>([
  ['within reach waits longer', {}, 300, 40, { kind: 'extend' }],
  ['out of reach goes on with low confidence', {}, 300, 30, { kind: 'advance', next: 25, confidence: 'low' }],
  ['waits when told to', { lowTraffic: 'wait' }, 300, 2, { kind: 'extend' }],
  ['has waited three windows', { lowTraffic: 'wait' }, 900, 6, { kind: 'advance', confidence: 'low' }],
  ['was within reach for three windows', {}, 900, 99, { kind: 'advance', confidence: 'low' }],
  ['is held when told to', { lowTraffic: 'hold' }, 300, 3, { kind: 'hold', cause: 'low traffic', alert: false }],
  ['needs fewer when told so', { minRequests: 3 }, 300, 3, { kind: 'advance', confidence: 'full' }],
])('a stage with few requests %s', (_, settings, activeSec, requests, expected) => {
  const few = segment({ candidate: counts(requests), baseline: counts(requests * 19) })
  expect(decide([few], withSettings(settings), { ...atWindow, activeSec })).toMatchObject(expected)
})

test('low confidence is said', () => {
  const few = segment({ candidate: counts(12), baseline: counts(228) })
  expect(decide([few], policy, atWindow).sentence).toMatch(
    /^5 % → 25 % \(low confidence: 12 of 100 requests\): errors 0\/12 vs 0\/228/,
  )
})

test('an idle app is asked ten times and goes straight to 100 %, unverified', () => {
  const idle = { before: { ...moment().before, recentRequests: 19 } }
  expect(decide([], policy, moment(idle))).toMatchObject({ kind: 'probe', count: 10 })
  const passed = decide([], policy, moment({ ...idle, probes: { passed: 10, failed: 0, reason: null } }))
  expect(passed).toMatchObject({ kind: 'advance', next: 100, confidence: 'unverified' })
  expect(passed.sentence).toBe('begins at 100 % (unverified: no traffic)')
  const failed = decide([], policy, moment({ ...idle, probes: { passed: 7, failed: 3, reason: 'it answered 500' } }))
  expect(failed).toMatchObject({ kind: 'hold', cause: 'probes', alert: true })
  expect(failed.sentence).toBe(
    'held at 0 %: 3 of the probes failed (it answered 500), and there is no traffic to judge by',
  )
})

test('an app that falls idle within a window goes to 100 % too, and is done there', () => {
  const still = segment({ candidate: counts(1), baseline: counts(18) })
  expect(decide([still], policy, moment({ activeSec: 299 }))).toMatchObject({ kind: 'observe' })
  expect(decide([still], policy, atWindow)).toMatchObject({ kind: 'probe' })
  const probed = { ...atWindow, probes: { passed: 10, failed: 0, reason: null } }
  expect(decide([still], policy, probed)).toMatchObject({ kind: 'advance', next: 100, confidence: 'unverified' })
  const alone = segment({ stage: 1, weight: 1, candidate: counts(0), baseline: noCounts })
  expect(decide([still, alone], policy, atWindow)).toMatchObject({
    kind: 'advance',
    next: null,
    confidence: 'unverified',
  })
})

test('a starved candidate is held and not promoted for being quiet', () => {
  const starved = decide([segment({ candidate: counts(0), baseline: counts(5000) })], policy, atWindow)
  expect(starved).toMatchObject({ kind: 'hold', cause: 'split', alert: true })
  expect(starved.sentence).toBe(
    'held at 5 %: the new version got 0 of 5000 requests without a cookie where 250 were due',
  )
})

test('a candidate to which none of a few visitors comes, who all have their cookies, has few requests and no broken split', () => {
  const arms = { candidate: counts(0), baseline: counts(5000, { tosses: 0 }) }
  expect(decide([segment(arms)], policy, moment())).toMatchObject({ kind: 'observe' })
  expect(decide([segment(arms)], policy, atWindow)).toMatchObject({ kind: 'advance', next: 25, confidence: 'low' })
  const hold = { ...policy, autoRollback: { ...policy.autoRollback, lowTraffic: 'hold' as const } }
  expect(decide([segment(arms)], hold, atWindow)).toMatchObject({ kind: 'hold', cause: 'low traffic' })
})

test('below 80 % coverage nothing advances and nothing is rolled back, and after ten minutes somebody should look', () => {
  const enough = segment({ candidate: counts(100), baseline: counts(1900) })
  const away = { ...atWindow, coverage: 0.67 }
  const verdict = decide([enough], policy, away)
  expect(verdict).toMatchObject({ kind: 'hold', cause: 'coverage', alert: false })
  expect(verdict.sentence).toBe('held at 5 %: proxies with 67 % of the traffic report, 80 % must')
  expect(decide([enough], policy, { ...away, uncoveredSec: 601 })).toMatchObject({ alert: true })
  expect(decide([enough], policy, { ...away, coverage: 0.8 })).toMatchObject({ kind: 'advance' })
  const dead = segment({ candidate: counts(9, errors(9)), baseline: counts(171) })
  expect(decide([dead], policy, away)).toMatchObject({ kind: 'rollback' })
})

test('stages that leave nothing to compare with are guarded only', () => {
  const all = rolloutPolicy.parse({ stages: [95] })
  expect(decide([], all, moment())).toMatchObject({ kind: 'advance', next: 95 })
  const nearly = (change: Partial<Counts>) =>
    segment({ weight: 0.95, candidate: counts(950, change), baseline: counts(50) })
  expect(decide([nearly(errors(10))], all, atWindow)).toMatchObject({
    kind: 'advance',
    next: 100,
    numbers: { errors: null },
  })
  expect(decide([nearly(errors(200))], all, atWindow)).toMatchObject({ kind: 'rollback', cause: 'guard' })
})

const arm = fc.nat({ max: 3000 }).chain((requests) =>
  fc.record({
    requests: fc.constant(requests),
    tosses: fc.nat({ max: requests }),
    errorRequests: fc.nat({ max: requests }),
    errorUnits: fc.nat({ max: Math.min(requests, 40) }),
    timedRequests: fc.constant(requests),
    slowUnits: fc.nat({ max: Math.min(requests, 80) }),
    tooSlowRequests: fc.nat({ max: requests }),
    refusedRequests: fc.nat({ max: requests }),
  }),
)
const rollout = fc.array(fc.tuple(arm, arm, arm, arm), { maxLength: 4 }).map((stages) =>
  stages.flatMap(([one, other, third, fourth], stage): Segment[] => {
    const weight = (policy.stages[stage] ?? 0) / 100
    return [
      { stage, opens: 'stage', weight, slowMs: 180, candidate: one, baseline: other },
      { stage, opens: 'half', weight, slowMs: 180, candidate: third, baseline: fourth },
    ]
  }),
)
const moments = fc.record({
  activeSec: fc.nat({ max: 1200 }),
  coverage: fc.double({ min: 0, max: 1, noNaN: true }),
  uncoveredSec: fc.nat({ max: 2000 }),
  guard: fc.record({ watchSec: fc.nat({ max: 700 }), heldSec: fc.option(fc.nat({ max: 700 })) }),
  probes: fc.option(
    fc.record({ passed: fc.nat({ max: 10 }), failed: fc.nat({ max: 10 }), reason: fc.option(fc.string()) }),
  ),
  before: fc.record({
    recentRequests: fc.nat({ max: 100 }),
    failures: fc.record({ errors: fc.nat({ max: 90 }), requests: fc.integer({ min: 90, max: 9000 }) }),
    burst: fc.record({ errors: fc.constantFrom(1, 5), latency: fc.constantFrom(1, 5) }),
  }),
})

test('the verdict is a function of the counters: read back from a database by another process, it is the same', () => {
  fc.assert(
    fc.property(rollout, moments, (segments, now) => {
      const verdict = decide(segments, policy, now)
      const readBack = JSON.parse(JSON.stringify({ segments, policy, now }))
      expect(decide(readBack.segments, readBack.policy, readBack.now)).toEqual(verdict)
      expect(JSON.parse(JSON.stringify(verdict))).toEqual(verdict)
    }),
  )
})

test('nothing is rolled back for lack of data, nor while the candidate has nothing bad', () => {
  const innocent = rollout.map((segments) =>
    segments.map((part) => ({
      ...part,
      candidate: { ...part.candidate, errorRequests: 0, errorUnits: 0, slowUnits: 0, tooSlowRequests: 0 },
      baseline: { ...part.baseline, errorRequests: 0 },
    })),
  )
  fc.assert(
    fc.property(innocent, moments, (segments, now) => {
      expect(decide(segments, policy, now).kind).not.toBe('rollback')
    }),
  )
})

test('good requests of the candidate never turn another verdict into a rollback', () => {
  fc.assert(
    fc.property(rollout, moments, fc.nat({ max: 3000 }), (segments, now, more) => {
      fc.pre(decide(segments, policy, now).kind !== 'rollback')
      const better = segments.map(({ candidate, ...part }) => ({
        ...part,
        candidate: { ...candidate, requests: candidate.requests + more, timedRequests: candidate.timedRequests + more },
      }))
      expect(decide(better, policy, now).kind).not.toBe('rollback')
    }),
  )
})
