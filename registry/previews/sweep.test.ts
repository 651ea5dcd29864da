import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../../test/support/database.ts'
import { createApp } from '../apps.ts'
import { targetOfBranch } from '../branches.ts'
import { createDeployment } from '../deployments.ts'
import { createLog } from '../log.ts'
import { previewDefaults } from '../preview-settings.ts'
import { removeLeftPreviews } from './sweep.ts'

const database = await createDatabase({ max: 6 })
const { sql } = database
const log = createLog('test').child({}, { level: 'silent' })
afterAll(() => database[Symbol.asyncDispose]())

const deploy = (app: string, version: string) =>
  createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, 'pr/1'),
    ...{ version, source: 'upload', by: 'ada' },
  })
const previews = async () =>
  (await sql<{ appId: string }[]>`select app_id from routes where environment = 'preview' order by app_id`).map(
    ({ appId }) => appId,
  )

test('a preview to which somebody deploys while the old ones are removed stays', async () => {
  for (const [app, hours] of [
    ['abandoned', 3],
    ['used', 2],
  ] as const) {
    await createApp(sql, { id: app, by: 'ada' })
    const { id } = await deploy(app, '1.0.0')
    await sql`
      update deployments
      set created_at = now() - make_interval(hours => ${previewDefaults.ttlHours + hours})
      where id = ${id}
    `
  }
  expect(await previews()).toEqual(['abandoned', 'used'])

  const { sweeping } = await sql.begin(async (tx) => {
    await tx`select id from routes where app_id = 'abandoned' for update`
    const sweeping = removeLeftPreviews({ sql, log })
    await expect
      .poll(() => sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
      .toHaveLength(1)
    await deploy('used', '2.0.0')
    return { sweeping: [sweeping] }
  })
  expect(await Promise.all(sweeping)).toEqual([1])
  expect(await previews()).toEqual(['used'])
  expect(await sql`select version, state from deployments where app_id = 'used' order by number`).toMatchObject([
    { version: '1.0.0', state: 'cancelled' },
    { version: '2.0.0', state: 'queued' },
  ])
})
