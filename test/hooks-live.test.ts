import { expect } from 'vitest'
import { test } from './support/atelier.ts'

const soon = { timeout: 15_000, interval: 100 }

test('hooks of a pushed app: preDeploy in the push, postDeploy and onRollback in the log of its version', async ({
  atelier,
}) => {
  const app = await atelier.createApp('hooked')
  const repo = await atelier.clone(app)
  const tell = 'echo "$VERSION of $APP_ID, and before $PREVIOUS_VERSION"'
  const hooks = { preDeploy: 'node check.mjs', postDeploy: tell, onRollback: tell }
  const first = await repo.commit({
    'index.html': 'one',
    'check.mjs': 'if (process.env.APP_ID !== "hooked") process.exit(1)\nconsole.log(process.env.URL)',
    'atelier.config.json': JSON.stringify({ hooks }),
  })
  const pushed = await repo.push()
  expect(pushed.remote.join('\n')).toMatch(/Hook {8}preDeploy: node check\.mjs\n +http:\/\/hooked\.apps\.localhost:\d+/)

  const second = await repo.commit({ 'index.html': 'two' })
  await repo.push('--push-option=canary=skip')
  const logOf = async (version: string) => {
    const { stdout, stderr } = await atelier.cli(['logs', version.slice(0, 7), '--app', 'hooked'])
    return stdout + stderr
  }
  await expect.poll(() => logOf(second), soon).toContain(`${second} of hooked, and before ${first}`)

  expect(await atelier.cli(['rollback', '--app', 'hooked'])).toMatchObject({ code: 0 })
  await expect.poll(() => logOf(second), soon).toMatch(/onRollback: .*\n.*and before/)

  await repo.commit({ 'check.mjs': 'console.log("not on a Friday")\nprocess.exit(1)' })
  await expect(repo.push()).rejects.toMatchObject({
    result: {
      stderr: expect.stringMatching(/not on a Friday[\s\S]*\[remote rejected\].*hook preDeploy exited with 1/),
    },
  })
  expect((await atelier.get(app, '/')).body).toBe('one')
})
