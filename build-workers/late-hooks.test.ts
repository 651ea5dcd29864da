import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { findDeployment } from '../registry/deployments.ts'
import { rollBack } from '../registry/rollback.ts'
import { endRollout, findOpenRollout } from '../registry/rollout.ts'
import { completeRollout, revertRollout } from '../registry/rollout-ends.ts'
import { type TestFiles, TestWorker } from '../test/support/build-worker.ts'
import { LateHooks } from './late-hooks.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())
const { sql, config } = worker.deps

const facts = 'echo "app=$APP_ID version=$VERSION before=$PREVIOUS_VERSION in=$ENVIRONMENT at=$URL"'

function site(hooks: object): TestFiles {
  return { 'index.html': 'hi', 'atelier.config.json': { hooks } }
}

type Run = { hook: string; state: string; attempt: number; reason: string | null }

async function runsOf(deploymentId: string): Promise<Run[]> {
  return sql<Run[]>`
    select hook, state, attempt, reason
    from hook_runs
    where deployment_id = ${deploymentId}
    order by id
  `
}

async function logOf(deployment: { id: string }): Promise<string> {
  return (await worker.read(deployment)).log.join('\n')
}

const soon = { timeout: 60_000, interval: 50 }

test('a hook waits for a worker, runs once when the version is live, and is told which version came before', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { API_TOKEN: 'correct-horse-battery' }, { runtimeOnly: true })
  const files = site({ postDeploy: `${facts}; echo "token $API_TOKEN"` })
  const first = await worker.deploy(app, files)
  const second = await worker.deploy(app, files)
  expect(await runsOf(second.deployment.id)).toMatchObject([{ hook: 'postDeploy', state: 'waiting' }])

  const hooks = await LateHooks.start(worker.deps)
  await expect.poll(() => runsOf(second.deployment.id), soon).toMatchObject([{ state: 'done', attempt: 1 }])
  await hooks.close()
  const { appId, version } = second.deployment
  const url = `http://${app}.apps.localhost:8080`
  const log = await logOf(second.deployment)
  expect(log).toContain(`app=${appId} version=${version} before=${first.deployment.version} in=production at=${url}`)
  expect(log).toContain('token [API_TOKEN]')
  expect(log.indexOf('-----> Live')).toBeLessThan(log.indexOf('-----> Hook        postDeploy'))
  expect(await logOf(first.deployment)).toContain('before= in=production')

  const again = await LateHooks.start(worker.deps)
  const third = await worker.deploy(app, files)
  await expect.poll(() => runsOf(third.deployment.id), soon).toMatchObject([{ state: 'done' }])
  await again.close()
  expect(await runsOf(second.deployment.id)).toMatchObject([{ state: 'done', attempt: 1 }])
  expect((await logOf(second.deployment)).split(`app=${app} `)).toHaveLength(2)
})

test('a rollback by hand runs the hook of the version that is taken back', async () => {
  const app = await worker.createApp()
  const hooks = await LateHooks.start(worker.deps)
  const first = await worker.deploy(app, site({}))
  const second = await worker.deploy(app, site({ onRollback: facts }))
  expect(await runsOf(second.deployment.id)).toEqual([])
  await rollBack(sql, first.deployment, { by: 'test' })
  await expect.poll(() => runsOf(second.deployment.id), soon).toMatchObject([{ hook: 'onRollback', state: 'done' }])
  await hooks.close()
  expect(await logOf(second.deployment)).toContain(
    `version=${second.deployment.version} before=${first.deployment.version}`,
  )
  expect(await runsOf(first.deployment.id)).toEqual([])
})

test('a rollout runs postDeploy when it has ended well, and onRollback when it is taken back', async () => {
  const app = await worker.createApp()
  const files = site({ postDeploy: facts, onRollback: facts })
  await worker.deploy(app, files)
  const roll = async () => {
    const { deployment } = await worker.build(await worker.push(app, files, { canary: 'wanted' }))
    const open = await findOpenRollout(sql, deployment.routeId ?? '')
    if (!open) throw new Error('no rollout is under way')
    return { deployment, open }
  }
  const good = await roll()
  expect(good.deployment.state).toBe('canary')
  await sql.begin((tx) => completeRollout(tx, good.open, { config, by: 'test', slowMs: null, tooSlowMs: null }))
  expect((await findDeployment(sql, good.deployment.id))?.state).toBe('live')
  expect(await runsOf(good.deployment.id)).toEqual([])
  await endRollout(sql, good.open, { state: 'done', sentence: 'it did well', by: 'test' })
  expect(await runsOf(good.deployment.id)).toMatchObject([{ hook: 'postDeploy' }])

  const bad = await roll()
  const { open } = bad
  await sql.begin((tx) => revertRollout(tx, open, { to: 'failed', by: 'test', sentence: 'it did badly' }))
  expect(await runsOf(bad.deployment.id)).toMatchObject([{ hook: 'onRollback' }])

  const hooks = await LateHooks.start(worker.deps)
  await expect.poll(() => runsOf(bad.deployment.id), soon).toMatchObject([{ state: 'done' }])
  await hooks.close()
  expect(await runsOf(good.deployment.id)).toMatchObject([{ state: 'done' }])
  expect(await logOf(bad.deployment)).toContain(`before=${good.deployment.version}`)
})

test('a hook that hangs or fails is ended and said, and leaves live what is live', async () => {
  const app = await worker.createApp()
  const hooks = await LateHooks.start(worker.deps)
  const hanging = await worker.deploy(app, site({ postDeploy: 'echo waiting; sleep 1000', timeoutSec: 1 }))
  await expect.poll(() => runsOf(hanging.deployment.id), soon).toMatchObject([{ state: 'failed' }])
  const log = await logOf(hanging.deployment)
  expect(log).toContain('       waiting')
  expect(log).toContain(
    '-----> Failed      hook postDeploy did not end within 1 s (hooks.timeoutSec); what is live stays as it is',
  )
  const failing = await worker.deploy(app, site({ postDeploy: 'exit 3' }))
  await expect.poll(() => runsOf(failing.deployment.id), soon).toMatchObject([{ state: 'failed' }])
  await hooks.close()
  expect((await runsOf(failing.deployment.id))[0]?.reason).toBe('hook postDeploy exited with 3')
  expect((await findDeployment(sql, failing.deployment.id))?.state).toBe('live')
  expect((await readdir(join(worker.home, 'builds'))).filter((name) => name.startsWith('hook-'))).toEqual([])
})

test('a hook that is cut short by the end of its worker begins anew with the next one', async () => {
  const app = await worker.createApp()
  const files = { ...site({ postDeploy: 'echo begun; sleep 1000' }) }
  const { deployment } = await worker.deploy(app, files)
  const first = await LateHooks.start(worker.deps)
  await expect.poll(() => logOf(deployment), soon).toContain('begun')
  expect(await runsOf(deployment.id)).toMatchObject([{ state: 'running' }])
  await first.close()
  expect(await runsOf(deployment.id)).toMatchObject([{ state: 'waiting', attempt: 0 }])

  // As a worker leaves it that was killed.
  await sql`update hook_runs set state = 'running', attempt = 3, worker_id = 'test-worker' where deployment_id = ${deployment.id}`
  const second = await LateHooks.start(worker.deps)
  await expect.poll(() => runsOf(deployment.id), soon).toMatchObject([{ state: 'failed', attempt: 4 }])
  await second.close()
  expect(await logOf(deployment)).toContain('postDeploy was cut short 3 times and is not run again')
})
