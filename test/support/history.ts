import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { readManifest, readWhole } from '../../registry/bundle-store/bundles.ts'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { blobKey } from '../../registry/bundle-store/keys.ts'
import { openStore } from '../../registry/bundle-store/open.ts'
import { readConfig } from '../../registry/config.ts'
import type { Sql } from '../../registry/sql.ts'
import type { AnyPlatform, Atelier } from './atelier.ts'
import { run } from './command.ts'
import { processesOf } from './processes.ts'
import type { TestServices } from './services.ts'

type Live = {
  appId: string
  label: string
  version: string
  source: string
  ref: string
  manifestKey: string
  manifestSha256: string
}
/** A push whose client saw it end well. */
export type SeenPush = { app: string; ref: string; sha: string }

/**
 * Checks the platform's invariants after a fault, waiting for what heals by itself:
 * 1. a push that was seen to succeed has exactly one deployment, and it had visitors; 2. what is live has a manifest and blobs with the right
 * digests; 3. one deployment is live per route, every edge serves it within 2 s, and the branch points at it; 4. generations count the
 * moves, also those of rollouts, and only a command goes back to an older deployment;
 * 5. a deployment is published at most once; 6. nothing is left open: no deployment on its way, no work
 * directory, no program of a build, no temporary file, no git lock.
 * `services`: those the platform stands on instead of its own.
 */
export async function expectSoundHistory<P extends AnyPlatform>(
  atelier: Atelier<P>,
  pushes: SeenPush[],
  { services }: { services?: TestServices } = {},
): Promise<void> {
  const { platform } = atelier
  const sql = await platform.openDatabase()
  // Not the way the platform takes, on which something may be broken.
  const store = services ? await openStore(readConfig(services.s3.env())) : await platform.openStore()
  try {
    await expect.poll(() => openDeployments(sql), { timeout: 100_000, interval: 200 }).toEqual([])
    for (const push of pushes)
      expect(await timesLive(sql, push), `${push.app} ${push.sha}`).toEqual([{ deployments: 1, hadTraffic: true }])
    for (const live of await liveDeployments(sql)) {
      await expectWholeBundle(store, live)
      for (const port of platform.ports)
        await expect.poll(() => versionAt(atelier, port, live.label), await agreeing(atelier, port)).toBe(live.version)
      if (live.source === 'git') expect(await refOf(platform, live), `${live.label} at ${live.ref}`).toBe(live.version)
    }
    expect(await wrongGenerations(sql)).toEqual([])
    expect(await generationsBack(sql)).toEqual([])
    expect(await publishedTwice(sql)).toEqual([])
    await expect.poll(() => leftovers(platform, store), { timeout: 60_000 }).toEqual([])
  } finally {
    await sql.end()
  }
}

// Two seconds, and what asking takes where the machine is busy just now.
async function agreeing<P extends AnyPlatform>(atelier: Atelier<P>, port: number): Promise<{ timeout: number }> {
  const startedAt = performance.now()
  await versionAt(atelier, port, 'nobody')
  return { timeout: 2_000 + 20 * (performance.now() - startedAt) }
}

async function openDeployments(sql: Sql): Promise<readonly unknown[]> {
  return sql`
    select id, state
    from deployments d
    where state in ('queued', 'building', 'built', 'uploading')
       or state = 'canary' and not exists (select from rollouts o where o.to_deployment = d.id and o.ended_at is null)
  `
}

async function timesLive(sql: Sql, { app, ref, sha }: SeenPush): Promise<readonly unknown[]> {
  return sql`
    select count(*)::integer as deployments, bool_and(traffic_at is not null) as had_traffic
    from deployments
    where app_id = ${app}
      and ref = ${ref}
      and git_sha = ${sha}
      and state not in ('failed', 'cancelled')
  `
}

async function liveDeployments(sql: Sql): Promise<Live[]> {
  return sql<Live[]>`
    select d.app_id, d.label, d.version, d.source, d.ref, b.manifest_key, b.manifest_sha256
    from routes r
    join deployments d on d.id = r.live_deployment and d.state = 'live'
    join builds b on b.id = d.build_id
  `
}

async function expectWholeBundle(store: BundleStore, { manifestKey, manifestSha256 }: Live): Promise<void> {
  const { files } = await readManifest(store, { key: manifestKey, sha256: manifestSha256 })
  for (const { path, sha256 } of files) {
    const bytes = await readWhole(store, blobKey(sha256))
    expect(createHash('sha256').update(bytes).digest('hex'), path).toBe(sha256)
  }
}

async function versionAt<P extends AnyPlatform>(atelier: Atelier<P>, port: number, label: string) {
  return (await atelier.getFrom(port, label, '/')).headers['x-atelier-deployment']
}

async function refOf({ gitDirectory }: AnyPlatform, { appId, ref }: Live): Promise<string> {
  const { stdout } = await run('git', ['--git-dir', join(gitDirectory, `${appId}.git`), 'rev-parse', ref], {
    cwd: '/',
    env: {},
  })
  return stdout.trim()
}

// Each time a version goes live, and of a rollout its beginning, each segment, its way back, and its end at 100 %.
async function wrongGenerations(sql: Sql): Promise<readonly unknown[]> {
  return sql`
    select label, generation, went_live, of_rollouts
    from (
      select r.label, r.generation,
             (
               select count(*)
               from deployments d
               join deployment_events e on e.deployment_id = d.id and e.to_state = 'live'
               where d.route_id = r.id
             ) as went_live,
             (
               select count(*)
                      + coalesce(sum((select count(*) from rollout_segments s where s.rollout_id = o.id)), 0)
                      + coalesce(sum((
                          select count(*)
                          from rollout_decisions v
                          where v.rollout_id = o.id
                            and (v.kind = 'done' or v.kind = 'reverting' and not exists (
                              select from deployment_events e where e.deployment_id = o.to_deployment and e.to_state = 'live'
                            ))
                        )), 0)
               from rollouts o
               where o.route_id = r.id
             ) as of_rollouts
      from routes r
    ) moves
    where generation <> went_live + of_rollouts
  `
}

async function publishedTwice(sql: Sql): Promise<readonly unknown[]> {
  return sql`
    select app_id, version, input_sha256, count(*)
    from builds
    group by app_id, version, input_sha256
    having count(*) > 1
  `
}

// Going live in the order of the pushes, but for what a command put live again.
async function generationsBack(sql: Sql): Promise<readonly unknown[]> {
  return sql`
    select route_id, number, before
    from (
      select d.route_id, d.number, e.reason, lag(d.number) over (partition by d.route_id order by e.id) as before
      from deployment_events e
      join deployments d on d.id = e.deployment_id
      where e.to_state = 'live'
    ) moves
    where number < before
      and coalesce(reason, '') !~ '^(rollback|promote)'
  `
}

async function leftovers({ livingHomes, gitDirectory }: AnyPlatform, store: BundleStore): Promise<string[]> {
  const builds = await Promise.all(livingHomes.map((home) => namesIn(join(home, 'builds'))))
  // Programs of builds that have ended; their command lines or folders name the build's.
  const programs = livingHomes.flatMap((home) => processesOf(join(home, 'builds')).map(({ command }) => command))
  const place = store.localPath('tmp')
  const temporary = place === null ? [] : await namesIn(place)
  const git = (await namesIn(gitDirectory)).filter((name) => name.endsWith('.lock') || name.includes('incoming-'))
  return [...builds.flat(), ...programs, ...temporary, ...git]
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory, { recursive: true }).catch((thrown: unknown) => {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return []
    throw thrown
  })
}
