import { describe, expect } from 'vitest'
import { awaitRouteSeen } from '../registry/edges.ts'
import type { Sql } from '../registry/sql.ts'
import type { ApartPlatform, PartName } from './support/apart.ts'
import { type Atelier, testApart } from './support/atelier.ts'
import {
  letPass,
  openApp,
  pushNext,
  readDecisions,
  readRollout,
  untilEnded,
  untilRollout,
} from './support/live-rollout.ts'
import { type Visit, Visitors } from './support/visitors.ts'

// A rollout through three proxies, each with processes and a way to the database of its own.

const test = testApart.extend('sql', { scope: 'file' }, async ({ atelier }, { onCleanup }): Promise<Sql> => {
  const sql = await atelier.platform.openDatabase()
  onCleanup(() => sql.end())
  return sql
})
test.override('apartOptions', { proxies: 3, cuttable: true, env: { ATELIER_EDGES: '2' } })

const proxies: PartName[] = ['proxy1', 'proxy2', 'proxy3']
const quick = { stages: [20, 60, 100], observationWindowSec: 4, autoRollback: { minRequests: 20, warmupSec: 2 } }
// Longer than it takes until a proxy that says nothing is missed.
const steady = { ...quick, observationWindowSec: 12 }

describe.concurrent('a version is judged by what its visitors get', () => {
  test('one that fails everybody is taken back at its third failure, from every proxy within five seconds', async ({
    atelier,
    sql,
  }) => {
    const shop = await openApp(atelier, sql, { name: 'dead', perSecond: 90 })
    await using visitors = shop.visitors
    const dead = await pushNext(shop, { failing: 1 })
    const { endedAt, sentence, deployment } = await untilEnded(sql, dead)
    const [, , third] = badOf(visitors, dead)
    // Aborted is what it is when every proxy has said that it sends nobody there any more.
    expect(Number(endedAt) - Number(third?.at)).toBeLessThan(5_000)
    expect(sentence).toMatch(/^errors \d+\/\d+ vs 0\/\d+ \(evidence [\d^]+, bar 750\)$/)
    expect(deployment).toMatchObject({ state: 'failed', reason: sentence })

    const failures = badOf(visitors, dead)
    await letPass(visitors, 300)
    expect(badOf(visitors, dead)).toEqual(failures)
    for (const port of atelier.platform.ports)
      expect(failures.filter((visit) => visit.port === port).length).toBeLessThanOrEqual(5)
    expect(visitors.bad).toHaveLength(failures.length)
  })

  test('one that hangs is taken back for slowness, though no visitor waits for an answer', async ({ atelier, sql }) => {
    const canary = { observationWindowSec: 60 }
    const load = { perSecond: 90, patienceMs: 2_000 }
    const shop = await openApp(atelier, sql, { name: 'hung', temper: { medianMs: 13.5 }, canary, ...load })
    await using visitors = shop.visitors
    const hung = await pushNext(shop, { hangs: true })
    const { state, sentence } = await untilEnded(sql, hung)
    expect(state).toBe('aborted')
    expect(sentence).toMatch(
      /^slow \d+\/\d+ vs \d+\/\d+ \(over \d+ ms; of \d+ vs \d+ visitors over \d+ ms; evidence [\d^]+, bar \d+\)$/,
    )
    await visitors.stop()
    expect(visitors.count().left).toBeGreaterThan(2)
    expect(visitors.count(hung).answers).toBe(0)
  })

  test('one that has forgotten its pages is told of and not taken back', async ({ atelier, sql }) => {
    const shop = await openApp(atelier, sql, { name: 'storm', perSecond: 90, canary: quick })
    await using visitors = shop.visitors
    const empty = await pushNext(shop, { status: 404 })
    const { state, deployment } = await untilEnded(sql, empty)
    expect({ state, deployment: deployment.state }).toEqual({ state: 'done', deployment: 'live' })
    expect(visitors.count(empty).statuses).toEqual({ 404: expect.any(Number) })
    const [told] = await sql`
      select c.verdict -> 'remarks' as remarks
      from rollout_decisions c
      join rollouts o on o.id = c.rollout_id
      where o.to_deployment = ${deployment.id}
        and c.verdict ->> 'remarks' like '%4xx answers%'
    `
    expect(told).toBeDefined()
  })
})

describe.concurrent('visitors who keep their cookies', () => {
  test('come to the version they had, at every proxy; more go over as its share grows, none goes back before all do; and who fails often is one who fails', async ({
    atelier,
    sql,
  }) => {
    const [regulars, temper] = [60, { failing: 0.2 }]
    const canary = { stages: [20, 60, 100], observationWindowSec: 600 }
    const shop = await openApp(atelier, sql, { name: 'regulars', perSecond: 90, regulars, temper, canary })
    await using visitors = shop.visitors
    const next = await pushNext(shop, temper)
    const first = await settledVisits(sql, visitors, next)
    expectSplit(first, next, { share: 0.2, regulars })

    const ask = (command: string, more = {}) => atelier.api('POST', command, { app_id: shop.name, ...more })
    expect(await ask('promote', { to: 60 })).toMatchObject({ status: 200 })
    const second = await settledVisits(sql, visitors, next)
    expectSplit(second, next, { share: 0.6, regulars })
    const before = new Set(goersTo(first, next))
    expect(new Set(goersTo(second, next)).isSupersetOf(before)).toBe(true)

    expect(await ask('abort')).toMatchObject({ status: 200 })
    await untilEnded(sql, next)
    expect(goersTo(await settledVisits(sql, visitors, next), next)).toEqual([])
    await visitors.stop()
    const [units] = await sql<{ count: number }[]>`
      select count(*)::int as count
      from rollout_bad_units u
      join rollouts o on o.id = u.rollout_id
      join deployments d on d.id = o.to_deployment
      where d.version = ${next}
        and u.metric = 'errors'
    `
    expect(units?.count).toBeGreaterThan(0)
    expect(units?.count).toBeLessThanOrEqual(regulars)
    expect(visitors.bad.length).toBeGreaterThan(2 * regulars)
  })
})

describe('a proxy that cannot reach the registry', () => {
  test('stops the clock of a rollout and nothing else, and what it counted meanwhile counts when it is back', async ({
    atelier,
    sql,
  }) => {
    const { platform } = atelier
    const shop = await openApp(atelier, sql, { name: 'cut', perSecond: 90, canary: steady })
    const next = await pushNext(shop, {})
    {
      await using visitors = shop.visitors
      await untilRollout(sql, next, ({ percent }) => percent === 20)
      platform.lineOf('proxy3').cut()
      const held = await untilRollout(sql, next, ({ state }) => state === 'held')
      expect(held.sentence).toMatch(/^held at 20 %: proxies with \d\d\.?\d* % of the traffic report, 80 % must$/)

      // Two windows' worth of visitors: those of the proxy that is cut off are divided as before.
      const before = answersAt(visitors, platform.ports[2], next)
      await letPass(visitors, 900)
      expect(answersAt(visitors, platform.ports[2], next)).toBeGreaterThan(before + 20)
      expect(await readRollout(sql, next)).toMatchObject({ state: 'held', percent: 20 })
      await visitors.stop()
      platform.lineOf('proxy3').mend()
      await expect.poll(() => candidateRequests(sql, next), { timeout: 60_000 }).toBe(visitors.count(next).answers)
    }
    await using _more = keepVisiting(platform.ports, 'cut')
    const { state } = await untilEnded(sql, next)
    expect({ state, decisions: await readDecisions(sql, next) }).toMatchObject({ state: 'done' })
  })

  test('none of them can: weights stay as they are, each keeps visitors from a version it cannot reach, and the verdict comes later', async ({
    atelier,
    sql,
  }) => {
    const { platform } = atelier
    const shop = await openApp(atelier, sql, { name: 'alone', perSecond: 90, canary: steady })
    await using visitors = shop.visitors
    const next = await pushNext(shop, { poisonable: true })
    await untilRollout(sql, next, ({ percent }) => percent === 20)
    for (const proxy of proxies) platform.lineOf(proxy).cut()
    await untilRollout(sql, next, ({ state }) => state === 'held')
    const before = { all: visitors.count().answers, next: visitors.count(next).answers }
    await letPass(visitors, 1000)
    const all = visitors.count().answers - before.all
    const share = (visitors.count(next).answers - before.next) / all
    expect(Math.abs(share - 0.2)).toBeLessThan(6 * Math.sqrt((0.2 * 0.8) / all))
    expect(await readRollout(sql, next)).toMatchObject({ state: 'held', percent: 20 })

    for (const port of platform.ports) await poison(atelier, port, next)
    await expect.poll(() => badOf(visitors, next).length, { timeout: 30_000 }).toBeGreaterThan(3)
    await letPass(visitors, 1000)
    for (const port of platform.ports)
      expect(badOf(visitors, next).filter((visit) => visit.port === port).length).toBeLessThanOrEqual(8)

    for (const proxy of proxies) platform.lineOf(proxy).mend()
    const { state, sentence } = await untilEnded(sql, next)
    expect({ state, sentence }).toEqual({ state: 'aborted', sentence: expect.stringMatching(/^errors /) })
  })
})

// Ten of each regular, from when all proxies go by the route as it is now.
async function settledVisits(sql: Sql, visitors: Visitors, version: string): Promise<Visit[]> {
  const [deployment] = await sql<{ id: string }[]>`select id from deployments where version = ${version}`
  expect(await awaitRouteSeen(sql, deployment?.id ?? '', { timeoutMs: 60_000 })).toBe(true)
  // Those that were asked for before are answered.
  await letPass(visitors, 60)
  const visits: Visit[] = []
  visitors.onVisit((visit) => visits.push(visit))
  await letPass(visitors, 600)
  return visits.filter(({ regular, deployment }) => regular !== null && deployment !== '')
}

function goersTo(visits: Visit[], version: string): number[] {
  return [
    ...new Set(
      visits.flatMap(({ regular, deployment }) => (regular !== null && version.startsWith(deployment) ? regular : [])),
    ),
  ]
}

function expectSplit(visits: Visit[], version: string, { share, regulars }: { share: number; regulars: number }): void {
  const [all, over] = [new Set(visits.map(({ regular }) => regular)), goersTo(visits, version)]
  expect(all.size).toBe(regulars)
  const elsewhere = visits.filter(({ deployment }) => !version.startsWith(deployment))
  expect(elsewhere.filter(({ regular }) => over.includes(Number(regular)))).toEqual([])
  expect(Math.abs(over.length / regulars - share)).toBeLessThan(5 * Math.sqrt((share * (1 - share)) / regulars))
}

function badOf(visitors: Visitors, version: string): Visit[] {
  return visitors.bad.filter(({ deployment }) => deployment !== '' && version.startsWith(deployment))
}

function answersAt(visitors: Visitors, port: number | undefined, version: string): number {
  const tally = visitors.tallies.find((tally) => tally.port === port && version.startsWith(tally.deployment || '-'))
  return tally?.answers ?? 0
}

function keepVisiting(ports: number[], name: string): Visitors {
  return new Visitors({ ports, host: `${name}.apps.localhost`, perSecond: 90 })
}

async function candidateRequests(sql: Sql, version: string): Promise<number> {
  const [row] = await sql<{ requests: number }[]>`
    select coalesce(sum(r.candidate[1]), 0)::bigint as requests
    from rollout_reports r
    join rollouts o on o.id = r.rollout_id
    join deployments d on d.id = o.to_deployment
    where d.version = ${version}
  `
  return row?.requests ?? 0
}

// By chance, as everybody comes to a version.
async function poison(atelier: Atelier<ApartPlatform>, port: number, version: string): Promise<void> {
  const answeredBy = async () =>
    String((await atelier.getFrom(port, 'alone', '/poison')).headers['x-atelier-deployment'])
  await expect.poll(async () => version.startsWith(await answeredBy()), { timeout: 60_000, interval: 5 }).toBe(true)
}
