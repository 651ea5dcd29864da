import { findByVersion } from '../registry/deployments.ts'
import { lockWithRoute } from '../registry/live.ts'
import { findOpenRollout } from '../registry/rollout.ts'
import { revertRollout } from '../registry/rollout-ends.ts'
import type { Sql } from '../registry/sql.ts'
import { Atelier } from '../test/support/atelier.ts'
import { whenServed } from './flip.ts'
import { type Row, repeat } from './measure.ts'

const app = 'bench-verdict'
const runs = 20

/**
 * The verdict of a rollout that gives the new version 99 % of the traffic is written → not one of three edges, on machines of their own as far as they
 * know, gives it any more.
 */
export async function measureVerdicts(): Promise<Row[]> {
  await using atelier = await Atelier.startApart({ proxies: 3 })
  const { platform } = atelier
  const repo = await atelier.clone(await atelier.createApp(app))
  const old = await repo.commit(site('old'))
  await repo.push()
  await using database = closing(await platform.openDatabase())
  const { sql } = database
  const values = await repeat(runs, async (index) => {
    await visit(sql, old)
    const version = await repo.commit(site(`new ${index}`))
    await repo.push()
    await takeBack(sql, version)
    const writtenAt = performance.now()
    const seenAt = await Promise.all(platform.ports.map((port) => whenServed(app, port, old)))
    return Math.max(...seenAt) - writtenAt
  })
  return [
    {
      what: `verdict written → all of 3 edges follow, p95 of ${runs}`,
      values,
      unit: 'ms',
      percentile: 95,
      target: '≤ 100 ms',
    },
  ]
}

const site = (text: string) => ({
  'index.html': text,
  'atelier.config.ts': 'export default { deployments: { canary: { stages: [99, 100] } } }\n',
})

// So that there is traffic to judge by, and the rollout begins with its first stage.
async function visit(sql: Sql, version: string): Promise<void> {
  await sql`
    insert into route_bins (route_id, deployment_id, edge_id, boot_id, turn, at, requests, errors, latency)
    select route_id, id, 'bench', 'bench', 0, clock_timestamp(), 1000, 0, ''
    from deployments
    where app_id = ${app}
      and version = ${version}
    on conflict do nothing
  `
}

// As the leader does it.
async function takeBack(sql: Sql, version: string): Promise<void> {
  const [candidate] = await findByVersion(sql, app, version)
  await sql.begin(async (tx) => {
    const deployment = await lockWithRoute(tx, candidate?.id ?? '')
    const rollout = deployment?.routeId ? await findOpenRollout(tx, deployment.routeId) : null
    if (deployment?.state !== 'canary' || !rollout) throw new Error(`${version} is ${deployment?.state}`)
    await revertRollout(tx, rollout, { to: 'failed', by: 'bench', sentence: 'measured' })
  })
}

function closing(sql: Sql) {
  return { sql, [Symbol.asyncDispose]: () => sql.end() }
}
