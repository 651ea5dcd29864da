import { afterAll, beforeAll, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { endLease, renewLease } from '../edges.ts'
import { readPurges, reportPurgesSeen } from '../purges.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('deploy')
  app = await plane.app()
})

const purge = (json: unknown, secret = token) => plane.ask('POST', `apps/${app}/purge`, { token: secret, json })

test('a purge is answered with what it names, who asked for it, and how many edges have done it', async () => {
  const answer = await purge({ tags: ['prices', '{"x\\'], paths: ['/blog/*', '/a?b=c,d'] })
  expect(answer).toMatchObject({
    status: 200,
    json: {
      ...{ app_id: app, tags: ['prices', '{"x\\'], paths: ['/blog/*', '/a?b=c,d'], all: false, by: 'deploy-all' },
      ...{ edges: 0, missing: 0 },
    },
  })
  expect(await purge({ all: true })).toMatchObject({ status: 200, json: { all: true, tags: [], paths: [] } })
})

test.each([
  {},
  { all: false },
  { tags: [] },
  { paths: ['blog'] },
  { tags: ['a,b'] },
  { tags: ['a\u0000'] },
  { tags: ['x'.repeat(257)] },
  { tags: Array(101).fill('x') },
  { all: 'yes' },
  { app: 'other', all: true },
])('a purge of %j is refused', async (json) => {
  expect(await purge(json)).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
})

test('a living edge is waited for until it says that it has read the purge, and not for ever', async () => {
  const { snapshot } = await readPurges(plane.sql, null)
  await renewLease(plane.sql, 'slow')
  await reportPurgesSeen(plane.sql, 'slow', snapshot)
  const lease = setInterval(() => void renewLease(plane.sql, 'slow'), 500)
  expect(await purge({ all: true })).toMatchObject({ status: 200, json: { edges: 0, missing: 1 } })

  const waiting = purge({ tags: ['t'] })
  await expect
    .poll(async () => (await readPurges(plane.sql, snapshot)).purges)
    .toEqual([
      { app, all: true, tags: [], paths: [] },
      { app, all: false, tags: ['t'], paths: [] },
    ])
  await reportPurgesSeen(plane.sql, 'slow', (await readPurges(plane.sql, snapshot)).snapshot)
  expect(await waiting).toMatchObject({ status: 200, json: { edges: 1, missing: 0 } })
  clearInterval(lease)
  await endLease(plane.sql, 'slow')
})

test('what an edge has read is not told again; one that never read, or whose database is another, forgets everything', async () => {
  const first = await readPurges(plane.sql, null)
  expect(first.purges).toBe(null)
  expect((await readPurges(plane.sql, first.snapshot)).purges).toEqual([])
  expect((await readPurges(plane.sql, '99999999:99999999:')).purges).toBe(null)
})

test('what came with a backup of a database with more transactions is not told again and again', async () => {
  const { sql } = plane
  const { snapshot } = await readPurges(sql, null)
  await sql`
    insert into purges (id, app_id, tags, paths, everything, by, made_in)
    values ('restored', ${app}, '{}', '{}', true, 'test', '9999999999')
  `
  await purge({ tags: ['now'] })
  for (let turn = 0; turn < 2; turn++)
    expect((await readPurges(sql, snapshot)).purges).toEqual([{ app, all: false, tags: ['now'], paths: [] }])
  await sql`delete from purges where id = 'restored'`
})

test('a purge that commits after a later one is not missed', async () => {
  const { sql } = plane
  let since = (await readPurges(sql, null)).snapshot
  const insert = (db: typeof sql, tag: string) => db`
    insert into purges (id, app_id, tags, paths, everything, by)
    values (${tag}, ${app}, ${[tag]}, '{}', false, 'test')
  `
  const seen: string[] = []
  const look = async () => {
    const { purges, snapshot } = await readPurges(sql, since)
    since = snapshot
    seen.push(...(purges ?? []).flatMap(({ tags }) => tags))
  }
  await sql.begin(async (tx) => {
    await insert(tx as unknown as typeof sql, 'early')
    await insert(sql, 'late')
    await look()
    expect(seen).toEqual(['late'])
  })
  await look()
  expect(seen).toEqual(['late', 'early'])
})
