import { expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { expectSoundHistory, type SeenPush } from './support/history.ts'
import type { RoleName } from './support/platform.ts'
import { connectToHome } from './support/platform-database.ts'
import { atOnce, type Files } from './support/repo.ts'

// Slow enough to be killed in the middle of, and it says when it is there.
const slowApp = (text: string, sec = 1): Files => ({
  'atelier.config.ts': "export default { build: { script: 'build.sh', output: 'dist' } }\n",
  'build.sh': `#!/bin/sh\nset -e\necho begun\nsleep ${sec}\nmkdir -p dist\necho '${text}' > dist/index.html\n`,
})

const seenPushes: SeenPush[] = []

test.for<RoleName>(['gateway', 'worker', 'registry', 'proxy'])(
  'kill -9 of the %s in the middle of a push loses, doubles and half-publishes nothing',
  async (role, { atelier }) => {
    const app = await atelier.createApp(`kill-${role}`)
    const repo = await atelier.clone(app)
    await repo.commit(slowApp('one'))
    await repo.push(atOnce)

    const sha = await repo.commit(slowApp('two'))
    const pushing = repo.tryPush(atOnce)
    await untilLogSays(atelier, sha, 'begun')
    await atelier.kill(role)
    const { code } = await pushing
    if (code === 0) seenPushes.push({ app: app.name, ref: 'refs/heads/main', sha })

    await expect
      .poll(async () => (await atelier.get(app, '/')).body, { timeout: 100_000, interval: 100 })
      .toContain('two')
    await expect.poll(async () => await atelier.platform.pidOf(role)).not.toBeNull()
    const third = await repo.commit(slowApp('three'))
    await expect.poll(async () => (await repo.tryPush(atOnce)).code, { timeout: 60_000 }).toBe(0)
    seenPushes.push({ app: app.name, ref: 'refs/heads/main', sha: third })
    await expectSoundHistory(atelier, seenPushes)
  },
)

test('kill -9 of the whole platform in the middle of a push: the next start serves what was live and finishes the push', async ({
  atelier,
}) => {
  const app = await atelier.createApp('kill-all')
  const repo = await atelier.clone(app)
  await repo.commit(slowApp('one'))
  await repo.push(atOnce)

  const sha = await repo.commit(slowApp('two', 5))
  const pushing = repo.tryPush(atOnce)
  await untilLogSays(atelier, sha, 'begun')
  await atelier.platform.killSupervisor()
  expect((await pushing).code).not.toBe(0)
  await atelier.platform.start()
  await expect
    .poll(async () => (await atelier.get(app, '/')).body, { timeout: 100_000, interval: 100 })
    .toContain('two')
  await expectSoundHistory(atelier, seenPushes)
})

async function untilLogSays(atelier: Atelier, sha: string, text: string): Promise<void> {
  const sql = await connectToHome(atelier.home)
  try {
    await expect
      .poll(
        () =>
          sql`select from build_log_lines l join deployments d on d.id = l.deployment_id where d.git_sha = ${sha} and l.text like ${`%${text}%`}`,
        { timeout: 60_000 },
      )
      .toHaveLength(1)
  } finally {
    await sql.end()
  }
}
