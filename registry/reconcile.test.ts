import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { missingBlobs } from './bundle-store/bundles.ts'
import { FileStore } from './bundle-store/file.ts'
import { blobKey, manifestKey } from './bundle-store/keys.ts'
import { claimBuild, recordBuild } from './claims.ts'
import { readConfig } from './config.ts'
import { createDeployment, type Deployment, findDeployment, moveDeployment } from './deployments.ts'
import { newId } from './ids.ts'
import { createLog } from './log.ts'
import { removePreview } from './preview-removal.ts'
import { openQueue, startBuildWorker } from './queue.ts'
import { reconcile } from './reconcile.ts'
import { goLive, markPrepared } from './release.ts'
import { readRetained } from './retained.ts'
import { collectBlobs, collectDeletedApps, pruneBuilds } from './retention.ts'

const database = await createDatabase({ max: 12 })
const { sql } = database
const config = readConfig({ ATELIER_HOME: '/nowhere', ATELIER_DATABASE_URL: database.url })
const log = createLog('test').child({}, { level: 'silent' })
const store = new FileStore(await mkdtemp(join(tmpdir(), 'store-')))
const queue = openQueue(config, { log })
const deps = { sql, queue, store, config, log }
afterAll(async () => {
  await queue.close()
  await database[Symbol.asyncDispose]()
})

let app: string
beforeEach(async () => {
  app = newId()
  await createApp(sql, { id: app, by: 'ada' })
})

const deploy = (version: string, branch = 'main') =>
  createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
    version,
    source: 'upload',
    by: 'ada',
  })

async function uploaded(
  version: string,
  branch = 'main',
): Promise<{ claim: Deployment & { workerId: string }; blob: string; manifest: string }> {
  const claim = await claimBuild(sql, (await deploy(version, branch)).id, 'w')
  if (!claim) throw new Error('not claimed')
  await moveDeployment(sql, claim.id, { from: 'building', to: 'built', by: 'w' })
  await moveDeployment(sql, claim.id, { from: 'built', to: 'uploading', by: 'w' })
  const build = newId()
  const blob = Buffer.from(build).toString('hex').padEnd(64, '0')
  await missingBlobs(sql, store, { app, build, digests: [blob] })
  await store.put(blobKey(blob), Buffer.from(build))
  const manifest = manifestKey({ app, version, build })
  await store.put(manifest, Buffer.from('{}'))
  await recordBuild(sql, claim, {
    id: build,
    kind: 'static',
    framework: 'static',
    manifestKey: manifest,
    manifestSha256: 'x',
    publicEnvHash: '',
    bundleSize: 1,
    durationMs: 1,
  })
  return { claim, blob, manifest }
}

async function live(version: string, branch = 'main') {
  const made = await uploaded(version, branch)
  await markPrepared(sql, made.claim)
  await goLive(sql, made.claim.id, { config, by: 'w' })
  return made
}

test('a queued row whose job was lost gets one; a row whose worker died is built again', async () => {
  const lost = await deploy('1.0.0')
  const abandoned = await deploy('1.0.0', 'pr/1')
  await claimBuild(sql, abandoned.id, 'dead')
  await sql`update deployments set heartbeat_at = now() - interval '1 minute' where id = ${abandoned.id}`

  const got = new Set<string>()
  const both = Promise.withResolvers<void>()
  const worker = startBuildWorker(
    config,
    async (id) => {
      got.add(id)
      if (got.has(lost.id) && got.has(abandoned.id)) both.resolve()
    },
    { concurrency: 2, log },
  )
  await reconcile(deps)
  await both.promise
  await worker.close()
})

test('a job without a row and a job that is doubled build nothing twice', async () => {
  const { id } = await deploy('1.0.0')
  const claims: unknown[] = []
  const third = Promise.withResolvers<void>()
  const worker = startBuildWorker(
    config,
    async (deploymentId) => {
      claims.push(await claimBuild(sql, deploymentId, 'w'))
      if (claims.length === 3) third.resolve()
    },
    { concurrency: 1, log },
  )
  await queue.enqueueBuild({ id: 'ghost', attempt: 0 })
  await queue.enqueueBuild({ id, attempt: 0 })
  await queue.enqueueBuild({ id, attempt: 1 })
  await third.promise
  await worker.close()
  expect(claims.filter(Boolean)).toHaveLength(1)
})

test('a prepared deployment that nobody takes live goes live, one whose ref has not moved does not', async () => {
  const upload = await uploaded('1.0.0')
  await markPrepared(sql, upload.claim)
  const push = await uploaded('1.0.0', 'pr/2')
  await markPrepared(sql, push.claim)
  await sql`update deployments set source = 'git' where id = ${push.claim.id}`
  await sql`update deployments set prepared_at = now() - interval '1 minute' where app_id = ${app}`
  await reconcile(deps)
  expect((await findDeployment(sql, upload.claim.id))?.state).toBe('live')
  expect((await findDeployment(sql, push.claim.id))?.state).toBe('uploading')
})

test('the newest ten production versions are kept, older ones and removed previews are pruned with their bundles', async () => {
  const versions: { manifest: string }[] = []
  for (let index = 0; index < 12; index++) versions.push(await live(`1.0.${index}`))
  const preview = await live('2.0.0', 'pr/3')
  await removePreview(sql, { app, branch: 'pr/3', by: 'ada' })
  expect(await pruneBuilds(sql, store)).toEqual([])

  await sql`update builds set created_at = now() - interval '1 hour' where app_id = ${app}`
  const pruned = (await pruneBuilds(sql, store)).map(({ version }) => version)
  expect(pruned.sort()).toEqual(['1.0.0', '1.0.1', '2.0.0'])
  const files = () => store.has([...versions, preview].map(({ manifest }) => manifest))
  // Their static files are for pages that are still open.
  expect(await files()).toEqual(new Set(versions.map(({ manifest }) => manifest)))
  await sql`update deployments set state_since = now() - interval '8 days' where app_id = ${app} and version = '1.0.0'`
  expect(await pruneBuilds(sql, store)).toEqual([])
  expect(await files()).toEqual(new Set(versions.slice(1).map(({ manifest }) => manifest)))
})

test('static files of what was live on a route within a week are known to the edges, the last left first', async () => {
  await live('1.0.0')
  const route = await live('1.0.1')
  await live('2.0.0', 'pr/1')
  await live('1.0.2')
  await sql`update deployments set state_since = now() - interval '8 days' where app_id = ${app} and version = '1.0.0'`
  const retained = (await readRetained(sql)).filter(({ appId }) => appId === app)
  expect(retained).toMatchObject([
    { environment: 'production', bundles: [{ version: '1.0.1', manifestKey: route.manifest, manifestSha256: 'x' }] },
  ])
})

test('the newest build of an app says how many versions are kept', async () => {
  const versions = []
  for (let index = 0; index < 4; index++) versions.push(await live(`1.0.${index}`))
  await sql`update builds set created_at = now() - interval '1 hour' where app_id = ${app}`
  await sql`update builds set keep_versions = 2 where app_id = ${app} and version = '1.0.3'`
  await sql`update deployments set state_since = now() - interval '8 days' where app_id = ${app}`
  await pruneBuilds(sql, store)
  const kept = await store.has(versions.map(({ manifest }) => manifest))
  expect(kept).toEqual(new Set(versions.slice(2).map(({ manifest }) => manifest)))
})

test('what a deleted app leaves in the store goes with it, what others have stays', async () => {
  const gone = await live('1.0.0')
  const goneApp = app
  app = newId()
  await createApp(sql, { id: app, by: 'ada' })
  const kept = await live('1.0.0')
  await sql`delete from apps where id = ${goneApp}`
  await sql`update blob_refs set at = now() - interval '2 days'`

  expect(await collectDeletedApps(sql, store)).toContain(goneApp)
  expect(await store.has([gone.manifest, kept.manifest])).toEqual(new Set([kept.manifest]))
  const counted = await sql<{ sha256: string }[]>`select sha256 from blob_refs`
  const digests = counted.map(({ sha256 }) => sha256)
  expect([digests.includes(gone.blob), digests.includes(kept.blob)]).toEqual([false, true])
})

test('an unreferenced blob is collected a day after it was condemned, a referenced one never', async () => {
  const kept = await live('1.0.0')
  const orphan = 'f'.repeat(64)
  await store.put(blobKey(orphan), Buffer.from('orphan'))
  expect(await collectBlobs(sql, store)).toBe(0)
  await sql`update condemned_blobs set since = now() - interval '25 hours'`
  await missingBlobs(sql, store, { app, build: newId(), digests: [orphan] })
  await collectBlobs(sql, store)
  expect(await store.has([blobKey(orphan)])).toEqual(new Set([blobKey(orphan)]))

  await sql`delete from blob_refs where sha256 = ${orphan}`
  await collectBlobs(sql, store)
  await sql`update condemned_blobs set since = now() - interval '25 hours'`
  expect(await collectBlobs(sql, store)).toBe(1)
  expect(await store.has([blobKey(orphan), blobKey(kept.blob)])).toEqual(new Set([blobKey(kept.blob)]))
})
