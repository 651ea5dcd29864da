import type { Db } from './sql.ts'

// Hooks that run after the fact. They are ordered by triggers, with the move of the deployment or the rollout that asks for them.

export type HookRun = {
  id: number
  appId: string
  deploymentId: string
  hook: 'postDeploy' | 'onRollback'
  previousVersion: string | null
  attempt: number
}

export const maxHookAttempts = 3
const silentForSec = 30

/**
 * Takes the oldest hook that waits, or whose worker is dead (no word for 30 s), for this worker; of a route one at a time, in the order of their moves.
 * The attempt number fences what is written later. Null: there is none.
 */
export async function claimHook(sql: Db, workerId: string): Promise<HookRun | null> {
  const [claimed] = await sql<HookRun[]>`
    update hook_runs
    set state = 'running',
        attempt = attempt + 1,
        worker_id = ${workerId},
        heartbeat_at = now()
    where id = (
      select h.id
      from hook_runs h
      where (
          h.state = 'waiting' and h.not_before <= clock_timestamp()
          or h.state = 'running' and h.heartbeat_at < now() - make_interval(secs => ${silentForSec})
        )
        and not exists (
          select from hook_runs earlier
          where earlier.route_id = h.route_id
            and earlier.id < h.id
            and earlier.state in ('waiting', 'running')
        )
      order by h.id
      limit 1
      for update skip locked
    )
    returning id, app_id, deployment_id, hook, previous_version, attempt
  `
  return claimed ?? null
}

/** Says that the worker is alive. False: the hook is not this worker's any more, or its app is gone. */
export async function keepHook(sql: Db, { id, attempt }: HookRun): Promise<boolean> {
  const kept = await sql`
    update hook_runs
    set heartbeat_at = now()
    where id = ${id}
      and attempt = ${attempt}
      and state = 'running'
    returning id
  `
  return kept.length === 1
}

/** The hook has run, and never runs again. `reason`: why it failed. */
export async function endHook(sql: Db, { id, attempt }: HookRun, reason: string | null): Promise<void> {
  await sql`
    update hook_runs
    set state = ${reason === null ? 'done' : 'failed'},
        reason = ${reason},
        ended_at = clock_timestamp()
    where id = ${id}
      and attempt = ${attempt}
      and state = 'running'
  `
}

/** The hook waits again: it was cut short, by the end of its worker or by a fault of the platform. */
export async function releaseHook(
  sql: Db,
  { id, attempt }: HookRun,
  { afterSec, isCounted }: { afterSec: number; isCounted: boolean },
): Promise<void> {
  await sql`
    update hook_runs
    set state = 'waiting',
        attempt = case when ${isCounted} then attempt else attempt - 1 end,
        not_before = clock_timestamp() + make_interval(secs => ${afterSec})
    where id = ${id}
      and attempt = ${attempt}
      and state = 'running'
  `
}

/** Has what a former self of this worker left go on at once. */
export async function releaseHooksOf(sql: Db, workerId: string): Promise<void> {
  await sql`
    update hook_runs
    set state = 'waiting'
    where state = 'running'
      and worker_id = ${workerId}
  `
}
