import type { DeployCommands } from './deploy-commands.ts'
import type { Deployment } from './deployments.ts'
import { codeOf } from './errors.ts'
import { digestInputs } from './reusable-builds.ts'
import type { RolloutPolicy } from './rollout-policy.ts'
import type { Db, Sql } from './sql.ts'

/** A deployment taken by a worker; the attempt number fences everything the worker writes. */
export type Claim = Deployment & { attempt: number; workerId: string }

/**
 * Takes a queued deployment for this worker and raises its attempt number, which fences everything the worker writes later.
 * Null: it is not queued any more, or another deployment of its route is running (deployments_one_running).
 */
export async function claimBuild(sql: Db, id: string, workerId: string): Promise<Claim | null> {
  try {
    const [claim] = await sql<Claim[]>`
      update deployments d
      set state = 'building',
          state_by = ${workerId},
          state_reason = null,
          attempt = attempt + 1,
          worker_id = ${workerId},
          heartbeat_at = now()
      where id = ${id}
        and state = 'queued'
        and not exists (
          select from deployments other
          where other.route_id = d.route_id
            and other.state in ('building', 'built', 'uploading')
        )
      returning *
    `
    return claim ?? null
  } catch (thrown) {
    if (codeOf(thrown) === '23505') return null
    throw thrown
  }
}

/** Says that the worker is alive. False: the attempt is not this worker's any more (cancelled, or given to another); stop. */
export async function heartbeat(sql: Db, claim: Pick<Claim, 'id' | 'attempt'>): Promise<boolean> {
  const beaten = await sql`
    update deployments
    set heartbeat_at = now()
    where id = ${claim.id}
      and attempt = ${claim.attempt}
      and state in ('building', 'built', 'uploading')
    returning id
  `
  return beaten.length === 1
}

/** Hands the attempt's deployment back to the queue: the worker stops before it is done. */
export async function releaseClaim(
  sql: Db,
  claim: Pick<Claim, 'id' | 'attempt' | 'workerId'>,
  reason: string,
): Promise<void> {
  await sql`
    update deployments
    set state = 'queued',
        state_by = ${claim.workerId},
        state_reason = ${reason}
    where id = ${claim.id}
      and attempt = ${claim.attempt}
      and state in ('building', 'built', 'uploading')
      and prepared_at is null
  `
}

const maxAttempts = 3

/**
 * Gives the running deployments of dead workers back to the queue, or fails them after three attempts. Dead: no heartbeat for
 * `silentForSec`, or claimed by `workerId` (a worker that starts says so of its former self). Returns those that are queued again.
 */
export async function requeueAbandoned(
  sql: Db,
  { silentForSec = 30, workerId = null }: { silentForSec?: number; workerId?: string | null },
): Promise<Deployment[]> {
  const moved = await sql<Deployment[]>`
    update deployments
    set state = case when attempt >= ${maxAttempts} then 'failed' else 'queued' end,
        state_by = 'platform',
        error_code = case when attempt >= ${maxAttempts} then 'INTERNAL' end,
        state_reason = case
          when attempt >= ${maxAttempts} then 'its build worker ended ' || attempt || ' times; push again, or see: atelier logs ' || id
          else 'its build worker ended; it is built again'
        end
    where state in ('building', 'built', 'uploading')
      and prepared_at is null
      and (heartbeat_at < now() - make_interval(secs => ${silentForSec}) or worker_id = ${workerId})
    returning *
  `
  return moved.filter(({ state }) => state === 'queued')
}

export type NewBuild = {
  id: string
  kind: string
  framework: string
  manifestKey: string
  manifestSha256: string
  publicEnvHash: string
  bundleSize: number
  durationMs: number
  /** How many production versions of the app are kept for going back to; default 10. */
  keepVersions?: number
  /** How it wants to be rolled out; null: as the defaults say. */
  rolloutPolicy?: RolloutPolicy | 'skip' | null
  /** Whether its making could tell the version: then it is no build of another version with the same files. Default: it could. */
  isToldVersion?: boolean
  /** Whether the app was started for it, to render its pages: then it is no build for other values of what is for run time only. */
  readsRunEnv?: boolean
  /** What it was made from, of an app that uses a part of its repository (findBuildOfParts). */
  partsSha256?: string | null
  /** What runs when it is deployed, now or later. */
  deployCommands?: DeployCommands | null
}

/** Ties a stored bundle to the deployment, once, and only for the worker that holds the attempt. False: fenced off. */
export async function recordBuild(sql: Sql, claim: Claim, build: NewBuild): Promise<boolean> {
  return sql.begin(async (tx) => {
    const held = await tx`
      select id
      from deployments
      where id = ${claim.id}
        and attempt = ${claim.attempt}
        and state in ('building', 'built', 'uploading')
      for update
    `
    if (held.length === 0) return false
    const digests = build.readsRunEnv
      ? digestInputs({ ...claim, target: claim, env: claim.envSnapshot, fork: claim.options.fork }, { reads: 'run' })
      : claim
    await tx`
      insert into builds (id, app_id, version, input_sha256, tree_sha256, parts_sha256, kind, framework, manifest_key, manifest_sha256, public_env_hash, bundle_size, duration_ms, keep_versions, rollout_policy, deploy_commands)
      values (
        ${build.id}, ${claim.appId}, ${claim.version}, ${digests.inputSha256},
        ${build.isToldVersion === false ? digests.treeSha256 : null}, ${build.partsSha256 ?? null}, ${build.kind}, ${build.framework}, ${build.manifestKey},
        ${build.manifestSha256}, ${build.publicEnvHash}, ${build.bundleSize}, ${build.durationMs}, ${build.keepVersions ?? 10},
        ${build.rolloutPolicy ? tx.json(build.rolloutPolicy) : null},
        ${build.deployCommands ? tx.json(build.deployCommands) : null}
      )
    `
    await tx`
      update deployments
      set build_id = ${build.id}
      where id = ${claim.id}
    `
    return true
  })
}

/** Ties a build that was made before to the deployment, only for the worker that holds the attempt. False: fenced off, or the build is gone. */
export async function adoptBuild(sql: Sql, claim: Claim, buildId: string): Promise<boolean> {
  const adopted = await sql`
    update deployments
    set build_id = ${buildId}
    where id = ${claim.id}
      and attempt = ${claim.attempt}
      and state in ('building', 'built', 'uploading')
      and exists (select from builds where id = ${buildId} and pruned_at is null for share)
    returning id
  `
  return adopted.length === 1
}
