import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { connectToHome } from './support/platform-database.ts'

const soon = { timeout: 60_000, interval: 100 }

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

test('F3: kill -9 of the worker in the middle of postDeploy: the next one begins it anew, and it ends once', async ({
  atelier,
}) => {
  const app = await atelier.createApp('interrupted')
  const repo = await atelier.clone(app)
  const hooks = { postDeploy: 'echo it begins; sleep 10; echo it ends' }
  const sha = await repo.commit({ 'index.html': 'one', 'atelier.config.json': JSON.stringify({ hooks }) })
  await repo.push()
  const logOf = async () => (await atelier.cli(['logs', sha.slice(0, 7), '--app', 'interrupted'])).stdout
  const sql = await connectToHome(atelier.home)
  const begun = () => sql`select seq from build_log_lines where text = '       it begins'`
  await expect.poll(begun, soon).toHaveLength(1)
  await atelier.kill('worker')
  await expect.poll(logOf, { timeout: 60_000, interval: 100 }).toMatch(/^ +it ends/m)
  const log = await logOf()
  expect(log).toContain('-----> Again       postDeploy was cut short; it begins anew')
  expect(log.match(/^ +it begins/gm)).toHaveLength(2)
  expect(log.match(/^ +it ends/gm)).toHaveLength(1)

  const runs = () => sql`select attempt, state from hook_runs where app_id = 'interrupted'`
  await expect.poll(runs, soon).toMatchObject([{ attempt: 2, state: 'done' }])
  await sql.end()
})
