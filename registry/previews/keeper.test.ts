import { randomBytes } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../../test/support/database.ts'
import { createApp } from '../apps.ts'
import { readConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { notePush } from '../repo-heads.ts'
import { linkRepo } from '../repo-links.ts'
import { PreviewKeeper } from './keeper.ts'

const database = await createDatabase({ max: 10 })
const { sql } = database
const key = randomBytes(32)
const asked: string[] = []
const anHour = 3_600_000
afterAll(() => database[Symbol.asyncDispose]())

const keeper = (answer: () => Promise<never>) =>
  new PreviewKeeper({
    ...{ sql, key, restMs: anHour, log: createLog('test').child({}, { level: 'silent' }) },
    config: { ...readConfig({ ATELIER_HOME: '/nowhere' }), reconcileMs: anHour },
    queue: { enqueueBuild: async () => undefined, close: async () => undefined },
    caller: {
      send: ({ url }) => {
        asked.push(url)
        return answer()
      },
    },
  })
const away = () => Promise.reject(new Error('the host is away'))

async function link(appId: string) {
  await createApp(sql, { id: appId, by: 'ada' })
  return again(appId)
}

function again(appId: string) {
  const at = { url: `https://git.example/a/${appId}.git`, apiUrl: 'https://git.example/api/v1' }
  const wanted = { ...at, appId, host: 'gitea', fullName: `a/${appId}`, forks: 'off', by: 'ada' } as const
  return sql.begin((tx) => linkRepo(tx, { ...wanted, secret: 'x'.repeat(16), token: null }, key))
}

test('a head that was written to when it was to be deployed is deployed right after', async () => {
  const { id } = await link('pushed')
  await notePush(sql, { linkId: id, appId: 'pushed', branch: 'main', sha: 'a'.repeat(40) })
  const deployed = () => sql`select version from deployments where app_id = 'pushed'`

  // As who tells the host does, for as long as one statement takes.
  const kept = await sql.begin(async (tx) => {
    await tx`select from repo_heads where app_id = 'pushed' for update`
    const kept = keeper(away)
    await expect
      .poll(
        () => sql`
          select query
          from pg_stat_activity
          where datname = current_database()
            and query ~ 'due_at <= now.*order by due_at|due_at <= now.*limit 1'
            and state = 'idle'
        `,
      )
      .not.toEqual([])
    expect(await deployed()).toEqual([])
    return [kept]
  })
  await expect.poll(deployed).toMatchObject([{ version: 'a'.repeat(40) }])
  await Promise.all(kept.map((one) => one.close()))
})

test('a host that was away is asked as soon as its repository is linked again, or the platform is started again', async () => {
  await link('asked')
  const problem = async () => (await sql`select poll_error from repo_links where app_id = 'asked'`)[0]?.pollError
  const times = () => asked.filter((url) => url.includes('/repos/a/asked/')).length
  for (const _ of ['first', 'again']) {
    await sql`update repo_links set poll_after = now() + interval '1 hour' where poll_failures > 0`
    const before = times()
    const kept = keeper(away)
    await expect.poll(times).toBe(before + 1)
    await expect.poll(problem).toBe('the host is away')

    await again('asked')
    await expect.poll(times).toBe(before + 2)
    await expect.poll(problem).toBe('the host is away')
    await kept.close()
  }
})
