import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { missingBlobs } from './bundle-store/bundles.ts'
import { FileStore } from './bundle-store/file.ts'
import { blobKey, manifestKey, serverKey, sourceKey } from './bundle-store/keys.ts'
import { claimBuild, recordBuild } from './claims.ts'
import { readConfig } from './config.ts'
import { cancelDeployment, createDeployment, type Deployment, findDeployment, moveDeployment } from './deployments.ts'
import { holdBuild, holdSource } from './holds.ts'
import { newId } from './ids.ts'
import { removePreview } from './preview-removal.ts'
import { goLive, markPrepared } from './release.ts'
import { collectBlobs, pruneBuilds } from './retention.ts'
import { rollBack } from './rollback.ts'
import { pruneSources, refuseIfSourceGone } from './sources.ts'

/** A store whose next removal waits. */
class SlowStore extends FileStore {
  #gate: Promise<void> = Promise.resolve()
  #reached: () => void = () => {}

  /** Resolves when something is about to be removed, which then waits for `open`. */
  closeGate(): { reached: Promise<void>; open: () => void } {
    const gate = Promise.withResolvers<void>()
    const reached = Promise.withResolvers<void>()
    this.#gate = gate.promise
    this.#reached = () => reached.resolve()
    return { reached: reached.promise, open: () => gate.resolve() }
  }

  override async remove(keys: string | string[]): Promise<void> {
    if (keys.length > 0) this.#reached()
    await this.#gate
    await super.remove(keys)
  }
}

const database = await createDatabase({ max: 16 })
const { sql } = database
const config = readConfig({ ATELIER_HOME: '/nowhere', ATELIER_DATABASE_URL: database.url })
const store = new SlowStore(await mkdtemp(join(tmpdir(), 'store-')))
afterAll(() => database[Symbol.asyncDispose]())

let app: string
beforeEach(async () => {
  app = newId()
  await createApp(sql, { id: app, by: 'ada' })
})

async function deploy(version: string, branch = 'main', from: Partial<Deployment> = {}): Promise<Deployment> {
  const key = from.sourceKey ?? sourceKey(app, version)
  await store.put(key, Buffer.from(version))
  return createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
    version,
    source: from.buildId ? 'redeploy' : 'upload',
    by: 'ada',
    sourceKey: key,
    buildId: from.buildId ?? null,
  })
}

async function built(version: string, branch = 'main', hooks: ('postDeploy' | 'onRollback')[] = []) {
  const claim = await claimBuild(sql, (await deploy(version, branch)).id, 'w')
  if (!claim) throw new Error('not claimed')
  await moveDeployment(sql, claim.id, { from: 'building', to: 'built', by: 'w' })
  await moveDeployment(sql, claim.id, { from: 'built', to: 'uploading', by: 'w' })
  const build = newId()
  await store.put(serverKey({ app, version, build }), Buffer.from('code'))
  await recordBuild(sql, claim, {
    id: build,
    kind: 'fetch',
    framework: 'fetch',
    manifestKey: manifestKey({ app, version, build }),
    manifestSha256: 'x',
    publicEnvHash: '',
    bundleSize: 1,
    durationMs: 1,
    keepVersions: 2,
    deployCommands: { hooks, changesDatabase: false },
  })
  return claim
}

async function live(version: string, branch = 'main', hooks: ('postDeploy' | 'onRollback')[] = []) {
  const claim = await built(version, branch, hooks)
  await markPrepared(sql, claim)
  await goLive(sql, claim.id, { config, by: 'w' })
  return read(claim)
}

async function read({ id }: { id: string }): Promise<Deployment> {
  const deployment = await findDeployment(sql, id)
  if (!deployment) throw new Error(`${id} is gone`)
  return deployment
}

/** Ten minutes and a day go by for everything but deployments that are under way. */
async function aDayLater(): Promise<void> {
  await sql`update builds set created_at = created_at - interval '1 hour'`
  await sql`update condemned_sources set since = since - interval '25 hours'`
  await sql`update condemned_blobs set since = since - interval '25 hours'`
}

async function tidyForDays(): Promise<void> {
  await aDayLater()
  await pruneBuilds(sql, store)
  await pruneSources(sql, store)
  await aDayLater()
  await pruneSources(sql, store)
}

const keptSources = async () => (await store.list(`sources/${app}/`)).map((key) => key.split('/')[2]).sort()
const soon = { timeout: 10_000 }
const waiting = () => sql`
  select pid
  from pg_stat_activity
  where datname = current_database()
    and wait_event_type = 'Lock'
`

describe('a source', () => {
  test('is kept as long as a version that is kept, or a preview, was made from it', async () => {
    for (const version of ['1.0.0', '1.0.1', '1.0.2', '1.0.3']) await live(version)
    await live('2.0.0', 'pr/1')
    await live('2.0.1', 'pr/2')
    await removePreview(sql, { app, branch: 'pr/2', by: 'ada' })
    await tidyForDays()
    expect(await keptSources()).toEqual(['1.0.2.tar.zst', '1.0.3.tar.zst', '2.0.0.tar.zst'])
  })

  test('of what came to nothing goes, of what is under way stays, and nothing goes before a day is over', async () => {
    const failed = await deploy('1.0.0')
    await claimBuild(sql, failed.id, 'w')
    await moveDeployment(sql, failed.id, { from: 'building', to: 'failed', by: 'w' })
    await cancelDeployment(sql, (await deploy('1.0.1', 'pr/1')).id, { by: 'ada', reason: 'test' })
    await store.put(sourceKey(app, '1.0.2'), Buffer.from('of an upload that was refused'))
    await deploy('1.0.3')
    await claimBuild(sql, (await deploy('1.0.4', 'pr/2')).id, 'w')

    const all = ['1.0.0', '1.0.1', '1.0.2', '1.0.3', '1.0.4'].map((version) => `${version}.tar.zst`)
    await pruneSources(sql, store)
    await pruneSources(sql, store)
    expect(await keptSources()).toEqual(all)
    await aDayLater()
    expect(await pruneSources(sql, store)).toBeGreaterThanOrEqual(3)
    expect(await keptSources()).toEqual(all.slice(3))
  })

  test('stays for a hook that waits or runs, and goes when that has ended', async () => {
    await live('1.0.0', 'main')
    const taken = await live('1.0.1', 'main', ['onRollback'])
    await rollBack(sql, await read(await live('1.0.2')), { by: 'ada' })
    await rollBack(sql, taken, { by: 'ada' })
    await live('1.0.3')
    await rollBack(sql, taken, { by: 'ada' })
    for (const version of ['1.0.4', '1.0.5', '1.0.6']) await live(version)
    await sql`
      insert into hook_runs (app_id, deployment_id, hook)
      values (${app}, ${taken.id}, 'onRollback')
    `
    await tidyForDays()
    expect(await keptSources()).toContain('1.0.1.tar.zst')
    await sql`update hook_runs set state = 'done' where app_id = ${app}`
    await tidyForDays()
    expect(await keptSources()).toEqual(['1.0.5.tar.zst', '1.0.6.tar.zst'])
  })

  test('that is being removed is waited for by a push of that commit, and by no other', async () => {
    const key = sourceKey(app, '1.0.0')
    await store.put(key, Buffer.from('x'))
    await pruneSources(sql, store)
    await aDayLater()
    const gate = store.closeGate()
    onTestFinished(gate.open)
    const pruning = pruneSources(sql, store)
    await gate.reached
    await deploy('1.0.1')
    const holding = holdSource(sql, key).then(() => store.has([key]))
    await expect.poll(waiting, soon).toHaveLength(1)
    gate.open()
    expect(await holding).toEqual(new Set())
    await pruning
  })

  test('that somebody counts on again is not removed: neither before it is said, nor while', async () => {
    const version = '1.0.0'
    const key = sourceKey(app, version)
    await store.put(key, Buffer.from('x'))
    await pruneSources(sql, store)
    await aDayLater()
    const gate = Promise.withResolvers<void>()
    onTestFinished(() => gate.resolve())
    const held = Promise.withResolvers<void>()
    const push = sql.begin(async (tx) => {
      await holdSource(tx, key)
      held.resolve()
      await gate.promise
    })
    await held.promise
    await pruneSources(sql, store)
    expect(await keptSources()).toEqual(['1.0.0.tar.zst'])
    gate.resolve()
    await push

    await pruneSources(sql, store)
    await aDayLater()
    await deploy(version)
    await pruneSources(sql, store)
    expect(await keptSources()).toEqual(['1.0.0.tar.zst'])
  })

  test('that is gone is said to be, with what to do', async () => {
    const upload = await live('1.0.0')
    await store.remove(upload.sourceKey ?? '')
    await expect(refuseIfSourceGone(sql, store, upload)).rejects.toMatchObject({
      code: 'VERSION_PRUNED',
      message: `${app} no longer keeps the source of 1.0.0 (v1); deploy its folder again, as another version`,
    })
    const commit = { ...upload, version: 'a'.repeat(40) }
    await expect(refuseIfSourceGone(sql, store, commit)).rejects.toThrow('aaaaaaa (v1); push that commit again')
  })
})

describe('a version that is being pruned', () => {
  test('is not rolled back to, and what is live stays', async () => {
    const old = await live('1.0.0')
    const now = await live('1.0.1')
    const gate = Promise.withResolvers<void>()
    onTestFinished(() => gate.resolve())
    const pruned = Promise.withResolvers<void>()
    const pruning = sql.begin(async (tx) => {
      await tx`update builds set pruned_at = now() where id = ${old.buildId}`
      pruned.resolve()
      await gate.promise
    })
    await pruned.promise
    const going = rollBack(sql, old, { by: 'ada' })
    const refused = expect(going).rejects.toMatchObject({ code: 'VERSION_PRUNED' })
    await expect.poll(waiting, soon).not.toHaveLength(0)
    gate.resolve()
    await pruning
    await refused
    expect((await read(now)).state).toBe('live')
    await expect(deploy('1.0.0', 'main', old)).rejects.toMatchObject({ code: 'VERSION_PRUNED' })
  })

  test('is not pruned when somebody goes back to it first', async () => {
    const old = await live('1.0.0')
    await live('1.0.1')
    await live('1.0.2')
    await aDayLater()
    const gate = Promise.withResolvers<void>()
    onTestFinished(() => gate.resolve())
    const held = Promise.withResolvers<void>()
    const going = sql.begin(async (tx) => {
      await holdBuild(tx, old.buildId)
      held.resolve()
      await gate.promise
    })
    await held.promise
    expect((await pruneBuilds(sql, store)).filter(({ appId }) => appId === app)).toEqual([])
    gate.resolve()
    await going
    expect((await pruneBuilds(sql, store)).filter(({ appId }) => appId === app)).toMatchObject([{ version: '1.0.0' }])
  })

  test('whatever is done at once, what is live or on its way has its build and its source', async () => {
    const random = (most: number) => Math.floor(Math.random() * most)
    const versions: Deployment[] = []
    for (let number = 0; number < 5; number++) versions.push(await live(`1.0.${number}`))
    const lost: unknown[] = []
    const attempt = (doing: Promise<unknown>) =>
      doing.catch((thrown: { code?: string }) => {
        if (!['VERSION_PRUNED', 'DEPLOYMENT_STATE'].includes(thrown.code ?? '')) throw thrown
      })
    for (let round = 0; round < 40; round++) {
      await aDayLater()
      const { appId, version, buildId } = versions[random(versions.length)] as Deployment
      const target = versions[random(versions.length)] as Deployment
      await Promise.all([
        attempt(rollBack(sql, target, { by: 'ada' })),
        pruneBuilds(sql, store),
        pruneSources(sql, store),
        attempt(deploy(version, 'main', { appId, buildId })),
      ])
      const now = await sql<{ id: string; key: string; prunedAt: Date | null; code: string }[]>`
        select d.id, d.source_key as key, b.pruned_at, 'builds/' || b.app_id || '/' || b.version || '/' || b.id as code
        from deployments d
        join builds b on b.id = d.build_id
        where d.app_id = ${app}
          and d.state in ('queued', 'live')
      `
      const there = await store.has(now.flatMap(({ key, code }) => [key, `${code}/server.tar.zst`]))
      for (const one of now)
        if (one.prunedAt || !there.has(one.key) || !there.has(`${one.code}/server.tar.zst`)) lost.push({ round, one })
      if (round % 4 === 0) versions.push(await live(`2.0.${round}`))
    }
    expect(lost).toEqual([])
  }, 120_000)
})

describe('a blob that is being removed', () => {
  const digest = (letter: string) => letter.repeat(64)

  test('is uploaded again by a build that counts on it meanwhile; other builds do not wait', async () => {
    const [condemned, other] = [digest('a'), digest('b')]
    await store.put(blobKey(condemned), Buffer.from('x'))
    await collectBlobs(sql, store)
    await aDayLater()
    const gate = store.closeGate()
    onTestFinished(gate.open)
    const collecting = collectBlobs(sql, store)
    await gate.reached
    expect(await missingBlobs(sql, store, { app, build: newId(), digests: [other] })).toEqual(new Set([other]))
    const asking = missingBlobs(sql, store, { app, build: newId(), digests: [other, condemned] })
    await expect.poll(waiting, soon).toHaveLength(1)
    gate.open()
    expect(await asking).toEqual(new Set([other, condemned]))
    expect(await collecting).toBeGreaterThanOrEqual(1)
  })

  test('is left when a build has counted on it first', async () => {
    const wanted = digest('c')
    await store.put(blobKey(wanted), Buffer.from('x'))
    await collectBlobs(sql, store)
    await aDayLater()
    expect(await missingBlobs(sql, store, { app, build: newId(), digests: [wanted] })).toEqual(new Set())
    await collectBlobs(sql, store)
    expect(await store.has([blobKey(wanted)])).toEqual(new Set([blobKey(wanted)]))
  })

  test('of many builds and collections at once, none that a build was told is there is lost', async () => {
    const digests = Array.from({ length: 40 }, (_, index) => index.toString(16).padStart(64, 'd'))
    for (let round = 0; round < 15; round++) {
      for (const one of digests) await store.put(blobKey(one), Buffer.from('x'))
      await collectBlobs(sql, store)
      await aDayLater()
      const wanted = digests.filter(() => Math.random() < 0.3)
      const builds = [newId(), newId()]
      const [, ...missing] = await Promise.all([
        collectBlobs(sql, store),
        ...builds.map((build) =>
          missingBlobs(sql, store, { app, build, digests: wanted.toSorted(() => Math.random() - 0.5) }),
        ),
      ])
      const there = await store.has(wanted.map(blobKey))
      for (const one of wanted) {
        const isSaidToBeThere = missing.some((lacking) => lacking instanceof Set && !lacking.has(one))
        if (isSaidToBeThere) expect(there).toContain(blobKey(one))
      }
      await sql`delete from blob_refs where build_id = any(${builds})`
    }
  })
})
