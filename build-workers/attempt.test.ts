import { existsSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { targetOfBranch } from '../registry/branches.ts'
import { claimBuild } from '../registry/claims.ts'
import { cancelDeployment, createDeployment, findDeployment, listEvents } from '../registry/deployments.ts'
import { TestWorker } from '../test/support/build-worker.ts'
import { Attempts } from './attempt.ts'
import { build } from './build.ts'
import { takeUpAfterFormerSelf } from './restart.ts'

const worker = await TestWorker.start()
const { deps } = worker
const { sql } = deps
afterAll(() => worker[Symbol.asyncDispose]())

// Long enough that nothing but its end can end it.
const endless = { 'atelier.config.json': { build: { script: 'echo started; sleep 1000' } } }
const page = { 'index.html': 'hello' }

test('a cancelled build ends at once, with everything it started', async () => {
  const deployment = await worker.push(await worker.createApp(), endless)
  const building = build(deployment.id, deps)
  await started(deployment.id)
  await cancelDeployment(sql, deployment.id, { by: 'somebody', reason: 'changed my mind' })
  await building
  expect(await findDeployment(sql, deployment.id)).toMatchObject({ state: 'cancelled', stateReason: 'changed my mind' })
  expect(existsSync(join(worker.home, 'builds', deployment.id))).toBe(false)
})

test('a worker that stops hands its build back, and the next one builds it', async () => {
  const stopping = { ...deps, attempts: await Attempts.start(sql) }
  const deployment = await worker.push(await worker.createApp(), endless)
  const building = build(deployment.id, stopping)
  await started(deployment.id)
  stopping.attempts.stopAll()
  await building
  await stopping.attempts.close()
  expect(await findDeployment(sql, deployment.id)).toMatchObject({ state: 'queued', attempt: 1 })
  expect(worker.enqueued).toContain(deployment.id)

  // A worker that is stopping takes nothing new.
  await build(deployment.id, stopping)
  expect(await findDeployment(sql, deployment.id)).toMatchObject({ state: 'queued', attempt: 1 })

  const again = build(deployment.id, deps)
  await expect.poll(async () => (await worker.read(deployment)).log.join('\n')).toContain('-----> Attempt 2')
  await cancelDeployment(sql, deployment.id, { by: 'test', reason: 'enough' })
  await again
})

test('a worker that was killed finds its build again when it starts, and its folders are gone', async () => {
  const deployment = await worker.push(await worker.createApp(), page)
  await claimBuild(sql, deployment.id, deps.workerId)
  await mkdir(join(worker.home, 'builds', deployment.id, 'app'), { recursive: true })
  await takeUpAfterFormerSelf(deps)
  expect(await readdir(join(worker.home, 'builds'))).toEqual([])
  expect(worker.enqueued).toContain(deployment.id)

  const built = await worker.build(deployment)
  expect(built.deployment).toMatchObject({ state: 'live', attempt: 2 })
})

test('a build that was recorded is not made again: it goes on to the edges', async () => {
  const app = await worker.createApp()
  const first = await worker.deploy(app, page)
  const redeployed = await createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, 'main'),
    version: first.deployment.version,
    source: 'redeploy',
    by: 'test',
    buildId: first.deployment.buildId,
    options: { canary: 'skip' },
  })
  const second = await worker.build(redeployed)
  expect(second.deployment).toMatchObject({ state: 'live', buildId: first.deployment.buildId })
  expect(second.log.join('\n')).not.toContain('Uploading')
  const states = (await listEvents(sql, redeployed.id)).map(({ toState }) => toState)
  expect(states).toEqual(['queued', 'building', 'built', 'uploading', 'live'])
})

test('a slower worker cannot finish what was given to a faster one', async () => {
  const deployment = await worker.push(await worker.createApp(), endless)
  const slow = build(deployment.id, deps)
  await started(deployment.id)
  await sql`update deployments set attempt = attempt + 1, worker_id = 'faster' where id = ${deployment.id}`
  // Its next heartbeat tells it.
  await slow
  expect(await findDeployment(sql, deployment.id)).toMatchObject({ state: 'building', attempt: 2, workerId: 'faster' })
})

test('a job that comes twice builds once', async () => {
  const deployment = await worker.push(await worker.createApp(), page)
  await Promise.all([build(deployment.id, deps), build(deployment.id, deps)])
  await build(deployment.id, deps)
  expect(await findDeployment(sql, deployment.id)).toMatchObject({ state: 'live', attempt: 1 })
})

test('what waited for the route is woken when its build has ended', async () => {
  const app = await worker.createApp()
  const first = await worker.push(app, endless)
  const building = build(first.id, deps)
  await started(first.id)
  const second = await worker.push(app, page)
  await build(second.id, deps)
  expect(await findDeployment(sql, second.id)).toMatchObject({ state: 'queued' })
  await cancelDeployment(sql, first.id, { by: 'test', reason: 'make way' })
  await building
  expect(worker.enqueued).toContain(second.id)
})

test('our own fault is tried again, and is a failure after the third time', async () => {
  const deployment = await worker.push(await worker.createApp(), page)
  const broken = {
    ...deps,
    store: Object.create(deps.store, { get: { value: () => Promise.reject(new Error('the disk is on fire')) } }),
  }
  await build(deployment.id, broken)
  expect(await findDeployment(sql, deployment.id)).toMatchObject({
    state: 'queued',
    stateReason: 'the disk is on fire; it is tried again',
  })
  await build(deployment.id, broken)
  await build(deployment.id, broken)
  expect(await findDeployment(sql, deployment.id)).toMatchObject({ state: 'failed', errorCode: 'INTERNAL', attempt: 3 })
})

async function started(id: string): Promise<void> {
  await expect
    .poll(async () => (await worker.read({ id })).log.join('\n'), { timeout: 20_000 })
    .toContain('       started')
}
