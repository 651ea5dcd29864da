import { type LogLine, readBuildLog } from './build-logs.ts'
import { type Deployment, findDeployment, openStates } from './deployments.ts'
import { awaitRouteSeen } from './edges.ts'
import { channels } from './routes.ts'
import type { Db, Sql } from './sql.ts'
import { Wakeup } from './wakeup.ts'

export type Followed = { lines: LogLine[] } | { end: Deployment | null }

/** `traffic`: until it has taken traffic, be it 5 % of it, will not without somebody's help, or never will. `verdict`: until its rollout is over as well. */
export type FollowUntil = 'traffic' | 'verdict'

/**
 * A deployment's log from any point on, in batches; the last item is `{ end }` with the deployment as it is then, null when it was deleted. Rides
 * out a database that restarts.
 */
export async function* followBuildLog(
  sql: Sql,
  deploymentId: string,
  { after = 0, signal, until = 'traffic' }: { after?: number; signal?: AbortSignal; until?: FollowUntil } = {},
): AsyncGenerator<Followed> {
  await using wakeup = await Wakeup.on(sql, [channels.buildLogs, channels.deployments], (payload) =>
    payload.startsWith(deploymentId),
  )
  let seen = after
  while (!signal?.aborted) {
    // Read the state before the lines: lines written before the end are then never missed.
    const deployment = await findDeployment(sql, deploymentId)
    const isOver = !deployment || (await hasEnded(sql, deployment, until))
    for (;;) {
      const lines = await readBuildLog(sql, deploymentId, { after: seen })
      if (lines.length === 0) break
      seen = lines.at(-1)?.seq ?? seen
      yield { lines }
    }
    if (isOver) {
      // Who is told that it takes traffic finds it taking some.
      if (deployment && servesNow.includes(deployment.state)) await awaitRouteSeen(sql, deploymentId, { signal })
      yield { end: deployment }
      return
    }
    await wakeup.next({ timeoutMs: 1000, signal })
  }
}

const servesNow: Deployment['state'][] = ['live', 'canary']

async function hasEnded(sql: Db, { id, state, trafficAt }: Deployment, until: FollowUntil): Promise<boolean> {
  if (until === 'traffic') return trafficAt !== null || !openStates.includes(state) || (await isHeldBack(sql, id))
  return !openStates.includes(state) && !(await isInRollout(sql, id))
}

// It has failed its probes, and nobody comes by whom it could be judged.
async function isHeldBack(sql: Db, deploymentId: string): Promise<boolean> {
  const held = await sql`
    select id
    from rollouts
    where to_deployment = ${deploymentId}
      and ended_at is null
      and state = 'held'
      and segment < 0
  `
  return held.length > 0
}

// One that is taken back says why when the edges have followed, which takes them a moment.
async function isInRollout(sql: Db, deploymentId: string): Promise<boolean> {
  const open = await sql`
    select o.id
    from rollouts o
    join deployments d on d.id = o.to_deployment
    where o.to_deployment = ${deploymentId}
      and o.ended_at is null
      and (o.state <> 'reverting' or d.state_since > now() - interval '10 seconds')
  `
  return open.length > 0
}
