import { afterAll, beforeEach, expect, test } from 'vitest'
import { AppError } from '../registry/errors.ts'
import { forgetIsolation, readIsolation, recordIsolation } from '../registry/isolation.ts'
import { TestWorker } from '../test/support/build-worker.ts'
import { build } from './build.ts'

const worker = await TestWorker.start()
const { sql } = worker.deps
afterAll(() => worker[Symbol.asyncDispose]())
beforeEach(() => sql`delete from isolation`)

const page = { 'index.html': 'hello' }
const weak = {
  ...{ part: 'proxy' as const, instance: 'edge-1', mode: 'users' as const },
  summary: 'apps and builds are users of their own and reach ports of this machine',
  advice: ['install what is missing: apt-get install nftables'],
}
const strong = { ...weak, part: 'worker' as const, instance: 'worker-1', mode: 'strong' as const }

test('a weak wall anywhere stands in every deploy’s log, before the line that says it is live', async () => {
  const app = await worker.createApp()
  await recordIsolation(sql, strong)
  expect((await worker.deploy(app, page)).log.join('\n')).not.toContain('Isolation')

  await recordIsolation(sql, weak)
  const { log } = await worker.deploy(app, page)
  const at = log.indexOf(`-----> Isolation   users: ${weak.summary}; see: atelier doctor`)
  expect(at).toBeGreaterThan(0)
  expect(log.findIndex((line) => line.includes('Live'))).toBeGreaterThan(at)
})

test('the weakest of the living parts counts; one that stops takes its word with it', async () => {
  await recordIsolation(sql, strong)
  await recordIsolation(sql, weak)
  expect(await readIsolation(sql)).toMatchObject({ mode: 'users', instance: 'edge-1', advice: weak.advice })
  await recordIsolation(sql, { ...weak, mode: 'full', advice: [] })
  expect(await readIsolation(sql)).toMatchObject({ mode: 'strong' })
  await forgetIsolation(sql, strong)
  expect(await readIsolation(sql)).toMatchObject({ mode: 'full' })
  await sql`update isolation set at = now() - interval '1 hour'`
  expect(await readIsolation(sql)).toBeNull()
})

test('a machine that has become weaker than required builds nothing, and says why', async () => {
  const message = 'ATELIER_ISOLATION=require, and here apps and builds are NOT walled off'
  const isolation = { ...worker.deps.isolation, demand: () => Promise.reject(new AppError('ISOLATION_WEAK', message)) }
  const deployment = await worker.push(await worker.createApp(), page)
  for (let attempt = 1; attempt <= 3; attempt++) await build(deployment.id, { ...worker.deps, isolation })
  const { deployment: ended, log } = await worker.read(deployment)
  expect(ended).toMatchObject({ state: 'failed', errorCode: 'ISOLATION_WEAK', stateReason: message })
  expect(log.join('\n')).toContain(`-----> Failed      ${message}`)
})
