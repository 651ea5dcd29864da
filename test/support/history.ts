import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { readManifest, readWhole } from '../../registry/bundle-store/bundles.ts'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { blobKey } from '../../registry/bundle-store/keys.ts'
import { openStore } from '../../registry/bundle-store/open.ts'
import { readConfig } from '../../registry/config.ts'
import { codeOf } from '../../registry/errors.ts'
import { connect, type Sql } from '../../registry/sql.ts'
import type { Atelier } from './atelier.ts'
import { run } from './command.ts'
import { connectToHome } from './platform-database.ts'
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
 * 1. a push that was seen to succeed has exactly one deployment, and it was live; 2. what is live has a manifest and blobs with the right
 * digests; 3. one deployment is live per route, the edge serves it, and the branch points at it; 4. generations count the moves;
 * 5. a deployment is published at most once; 6. nothing is left open: no open deployment, no work directory, no temporary file, no git lock.
 * `services`: those the platform stands on instead of its own.
 */
export async function expectSoundHistory(
  atelier: Atelier,
  pushes: SeenPush[],
  { services }: { services?: TestServices } = {},
): Promise<void> {
  const sql = services ? connect(services.database.url, { max: 1 }) : await connectToHome(atelier.home)
  const store = await openStore(readConfig({ ATELIER_HOME: atelier.home, ...services?.s3.env() }))
  try {
    await expect.poll(() => openDeployments(sql), { timeout: 100_000, interval: 200 }).toEqual([])
    for (const push of pushes)
      expect(await timesLive(sql, push), `${push.app} ${push.sha}`).toEqual([{ deployments: 1, wentLive: true }])
    for (const live of await liveDeployments(sql)) {
      await expectWholeBundle(store, live)
      await expect
        .poll(async () => (await atelier.get(live.label, '/')).headers['x-atelier-deployment'])
        .toBe(live.version)
      if (live.source === 'git') expect(await refOf(atelier, live), `${live.label} at ${live.ref}`).toBe(live.version)
    }
    expect(await wrongGenerations(sql)).toEqual([])
    expect(await publishedTwice(sql)).toEqual([])
    await expect.poll(() => leftovers(atelier.home), { timeout: 60_000 }).toEqual([])
  } finally {
    await sql.end()
  }
}

async function openDeployments(sql: Sql): Promise<readonly unknown[]> {
  return sql`select id, state from deployments where state in ('queued', 'building', 'built', 'uploading', 'canary')`
}

async function timesLive(sql: Sql, { app, ref, sha }: SeenPush): Promise<readonly unknown[]> {
  return sql`
    select count(*)::integer as deployments, bool_and(live_at is not null) as went_live
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

async function refOf(atelier: Atelier, { appId, ref }: Live): Promise<string> {
  const { stdout } = await run('git', ['--git-dir', join(atelier.home, 'git', `${appId}.git`), 'rev-parse', ref], {
    cwd: '/',
    env: {},
  })
  return stdout.trim()
}

async function wrongGenerations(sql: Sql): Promise<readonly unknown[]> {
  return sql`
    select r.label, r.generation, count(e.id) as went_live
    from routes r
    left join deployments d on d.route_id = r.id
    left join deployment_events e on e.deployment_id = d.id and e.to_state = 'live'
    group by r.id
    having r.generation <> count(e.id)
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

async function leftovers(home: string): Promise<string[]> {
  const inside = async (directory: string, matters: (name: string) => boolean = () => true) =>
    (await readdir(join(home, directory), { recursive: true }).catch(noneIfMissing))
      .filter(matters)
      .map((name) => join(directory, name))
  const lists = await Promise.all([
    inside('builds'),
    inside('store/tmp'),
    inside('git', (name) => name.endsWith('.lock') || name.includes('incoming-')),
  ])
  return lists.flat()
}

function noneIfMissing(thrown: unknown): string[] {
  if (codeOf(thrown) === 'ENOENT') return []
  throw thrown
}
