import { expect, vi } from 'vitest'
import type { Confidence, RolloutState } from '../../registry/rollout.ts'
import type { Counts } from '../../registry/rollouts/segments.ts'
import type { Sql } from '../../registry/sql.ts'
import type { ApartPlatform } from './apart.ts'
import type { Atelier } from './atelier.ts'
import { type CanarySettings, canaryApp, type Temper } from './canary-app.ts'
import type { Repo } from './repo.ts'
import { Visitors, type VisitorsOptions } from './visitors.ts'

/** An app that is live on all proxies and has visitors, who have been told of. */
export type Visited = { name: string; repo: Repo; visitors: Visitors; canary: CanarySettings; version: string }

export type SeenRollout = {
  state: RolloutState
  sentence: string | null
  confidence: Confidence | null
  percent: number
  endedAt: Date | null
  deployment: { id: string; state: string; reason: string | null }
  /** Of the stage in force, at the last look. */
  candidate: Counts | null
}

const ended: RolloutState[] = ['done', 'aborted']
// So long that only what never comes is a failure. Not expect.poll: tests that run beside each other wait by it.
const patience = { timeout: 180_000, interval: 100 }
// Enough for a P95 to go by.
const enoughTold = 300

/** Pushes `temper` to a new app, lets visitors come, and resolves when the registry knows enough of what they were answered. */
export async function openApp(
  atelier: Atelier<ApartPlatform>,
  sql: Sql,
  {
    name,
    temper = {},
    canary = {},
    ...load
  }: { name?: string; temper?: Temper; canary?: CanarySettings } & Pick<
    VisitorsOptions,
    'perSecond' | 'regulars' | 'patienceMs'
  >,
): Promise<Visited> {
  const app = await atelier.createApp(name)
  const repo = await atelier.clone(app)
  const version = await repo.commit(canaryApp('the old one', temper, canary))
  await repo.push()
  const visitors = new Visitors({ ports: atelier.platform.ports, host: `${app.name}.apps.localhost`, ...load })
  await vi.waitFor(async () => expect(await requestsTold(sql, app.name)).toBeGreaterThan(enoughTold), patience)
  return { name: app.name, repo, visitors, canary, version }
}

/** Pushes the next version; resolves to its commit when it has its first visitors. */
export async function pushNext({ repo, canary }: Visited, temper: Temper, title = 'the next'): Promise<string> {
  const version = await repo.commit(canaryApp(title, temper, canary))
  await repo.push()
  return version
}

/** The rollout of a version. */
export async function readRollout(sql: Sql, version: string): Promise<SeenRollout> {
  const [row] = await sql<SeenRollout[]>`
    select o.state, o.sentence, o.confidence, coalesce(s.percent, 0) as percent, o.ended_at,
           jsonb_build_object('id', d.id, 'state', d.state, 'reason', d.state_reason) as deployment,
           o.verdict #> '{numbers,stage,candidate}' as candidate
    from rollouts o
    join deployments d on d.id = o.to_deployment
    left join rollout_segments s on s.rollout_id = o.id and s.ordinal = o.segment
    where d.version = ${version}
    order by o.started_at desc
    limit 1
  `
  if (!row) throw new Error(`${version} has no rollout`)
  return row
}

/** Resolves when the rollout of a version is as it is asked to be. */
export async function untilRollout(
  sql: Sql,
  version: string,
  accept: (rollout: SeenRollout) => boolean,
): Promise<SeenRollout> {
  return vi.waitFor(async () => {
    const rollout = await readRollout(sql, version)
    expect(rollout).toSatisfy(accept)
    return rollout
  }, patience)
}

export function untilEnded(sql: Sql, version: string): Promise<SeenRollout> {
  return untilRollout(sql, version, ({ state }) => ended.includes(state))
}

/** Every state, percent and sentence a rollout had, in order. */
export async function readDecisions(sql: Sql, version: string): Promise<string[]> {
  const rows = await sql<{ kind: string; sentence: string }[]>`
    select c.kind, c.sentence
    from rollout_decisions c
    join rollouts o on o.id = c.rollout_id
    join deployments d on d.id = o.to_deployment
    where d.version = ${version}
    order by c.id
  `
  return rows.map(({ kind, sentence }) => `${kind}: ${sentence}`)
}

/** Resolves when so many more visitors have been answered. */
export async function letPass(visitors: Visitors, count: number): Promise<void> {
  const until = visitors.count().answers + count
  await vi.waitFor(() => expect(visitors.count().answers).toBeGreaterThanOrEqual(until), patience)
}

async function requestsTold(sql: Sql, app: string): Promise<number> {
  const [row] = await sql<{ requests: number }[]>`
    select coalesce(sum(b.requests), 0)::bigint as requests
    from route_bins b
    join routes r on r.id = b.route_id
    where r.app_id = ${app}
  `
  return row?.requests ?? 0
}
