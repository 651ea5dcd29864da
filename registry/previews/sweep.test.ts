import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../../test/support/database.ts'
import { createApp } from '../apps.ts'
import { targetOfBranch } from '../branches.ts'
import { createDeployment } from '../deployments.ts'
import { createLog } from '../log.ts'
import { changePreviewSettings, previewDefaults } from '../preview-settings.ts'
import { removeLeftPreviews } from './sweep.ts'

const database = await createDatabase({ max: 6 })
const { sql } = database
const log = createLog('test').child({}, { level: 'silent' })
afterAll(() => database[Symbol.asyncDispose]())

const deploy = (version: string, branch: string) =>
  createDeployment(sql, {
    app: 'swept',
    target: targetOfBranch({ id: 'swept', productionBranch: 'main' }, branch),
    ...{ version, source: 'upload', by: 'ada' },
  })
const previews = async () =>
  (await sql<{ branch: string }[]>`select branch from routes where environment = 'preview' order by branch`).map(
    ({ branch }) => branch,
  )

test('a preview to which somebody deploys while the old ones are removed stays', async () => {
  await createApp(sql, { id: 'swept', by: 'ada' })
  await changePreviewSettings(sql, 'swept', { ttlHours: previewDefaults.ttlHours })
  for (const [branch, hours] of [
    ['pr/1', 3],
    ['pr/2', 2],
  ] as const) {
    const { id } = await deploy('1.0.0', branch)
    await sql`
      update deployments
      set created_at = now() - make_interval(hours => ${previewDefaults.ttlHours + hours})
      where id = ${id}
    `
  }
  expect(await previews()).toEqual(['pr/1', 'pr/2'])

  const sweeping = await sql.begin(async (tx) => {
    await tx`select id from routes where branch = 'pr/1' for update`
    const sweeping = removeLeftPreviews({ sql, log })
    await expect
      .poll(() => sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
      .toHaveLength(1)
    await deploy('2.0.0', 'pr/2')
    return { ended: sweeping }
  })
  expect(await sweeping.ended).toBe(1)
  expect(await previews()).toEqual(['pr/2'])
  expect(await sql`select version, state from deployments where branch = 'pr/2' order by number`).toMatchObject([
    { version: '1.0.0', state: 'cancelled' },
    { version: '2.0.0', state: 'queued' },
  ])
})
