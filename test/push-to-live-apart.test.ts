import { expect } from 'vitest'
import { testApart as test } from './support/atelier.ts'
import { expectSoundHistory } from './support/history.ts'
import { describePushToLive } from './support/push-to-live.ts'

// The same story with every role on a machine of its own: an external Postgres, two workers, two proxies, TCP between the parts.

describePushToLive(test)

test('ten pushes at once: both workers build, each version once, and both proxies serve them all', async ({
  atelier,
}) => {
  const names = Array.from({ length: 10 }, (_, index) => `many-${index}`)
  const pushes = await Promise.all(
    names.map(async (app) => {
      const repo = await atelier.clone(await atelier.createApp(app))
      const build = `#!/bin/sh\nset -e\nsleep 1\nmkdir -p dist\necho '${app}' > dist/index.html\n`
      const config = "export default { build: { script: 'build.sh', output: 'dist' } }\n"
      const sha = await repo.commit({ 'atelier.config.ts': config, 'build.sh': build })
      await repo.push()
      return { app, ref: 'refs/heads/main', sha }
    }),
  )
  for (const app of names)
    for (const port of atelier.platform.ports) expect((await atelier.getFrom(port, app, '/')).body).toBe(`${app}\n`)
  const sql = await atelier.platform.openDatabase()
  const workers = await sql`select distinct worker_id from deployments where app_id like 'many-%'`
  expect(workers).toHaveLength(2)
  await sql.end()
  await expectSoundHistory(atelier, pushes)
})
