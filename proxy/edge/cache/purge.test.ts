import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { awaitPurgeSeen, insertPurge } from '../../../registry/purges.ts'
import { cacheable, type Wish, wish } from '../../../test/support/cacheable.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2 })
  await edge.deploy('one', cacheable('one '))
  await edge.deploy('other', cacheable('other '))
  const redirects = [{ from: '/shown/*', to: '/inner/:splat', status: 200 as const, force: false }]
  await edge.deploy('ruled', { ...cacheable('ruled '), redirects })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const forAll = (more: Wish = {}): Wish => ({ ...more, headers: { 'cache-control': 's-maxage=600', ...more.headers } })
const tagged = (tags: string) => forAll({ headers: { 'cache-tag': tags } })

/** Returns when every edge process has forgotten it. */
async function purge(what: { tags?: string[]; paths?: string[]; all?: boolean }, app = 'one'): Promise<void> {
  const { id } = await insertPurge(edge.sql, { app, tags: [], paths: [], all: false, by: 'test', ...what })
  expect(await awaitPurgeSeen(edge.sql, id)).toEqual({ edges: 1, missing: 0 })
}

const ask = async (target: string, app = 'one') => {
  const { headers, body } = await edge.ask(app, target)
  return `${headers['x-atelier-cache']} ${body}`
}

// Connections in a row that one of two processes gets all of: once in eight million.
const enough = 24

/** Asks until both edge processes have it. */
async function fill(target: string, app = 'one'): Promise<void> {
  let hits = 0
  while (hits < enough) hits = (await ask(target, app)).startsWith('hit') ? hits + 1 : 0
}

/** Bodies of so many answers, through connections that both edge processes get. */
async function bodies(target: string, app = 'one'): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: enough }, () => ask(target, app)))
  return [...new Set(answers.map((answer) => answer.replace(/^\w+ /, '')))].sort()
}

test('by tag, in every edge process, and nothing else', async () => {
  const [prices, both, news] = [
    wish('/prices', tagged('prices')),
    wish('/both', tagged('news,  prices')),
    wish('/news', tagged('news')),
  ]
  await Promise.all([prices, both, news].map((target) => fill(target)))
  const before = await Promise.all([prices, both, news].map((target) => bodies(target)))
  await purge({ tags: ['prices'] })
  const after = await Promise.all([prices, both, news].map((target) => bodies(target)))
  for (const place of [0, 1]) expect(after[place]?.some((body) => before[place]?.includes(body))).toBe(false)
  expect(after[2]).toEqual(before[2])
})

test('by path with every query, by one query, by what is below, whatever the spelling', async () => {
  const targets = ['/blog', '/blog/1', '/blog/2', '/caf%c3%a9', '/%62ooks'].map((path) => wish(path, forAll()))
  const [blog = '', first = '', second = '', cafe = '', books = ''] = targets
  for (const [paths, gone] of [
    [['/blog'], [blog]],
    [['/blog/*'], [first, second]],
    [
      ['/café', '/books'],
      [cafe, books],
    ],
    [[second], [second]],
    [['/blog?x=y', '/blo', '/blog/1/'], []],
  ] as const) {
    await Promise.all(targets.map((target) => fill(target)))
    const before = await Promise.all(targets.map((target) => bodies(target)))
    await purge({ paths: [...paths] })
    for (const [index, target] of targets.entries()) {
      const isGone = (gone as readonly string[]).includes(target)
      expect(
        (await bodies(target)).some((body) => before[index]?.includes(body)),
        target,
      ).toBe(!isGone)
    }
  }
})

test("by the path that visitors see, and by the one the site's rules make of it", async () => {
  const target = wish('/shown/1', forAll())
  await fill(target, 'ruled')
  for (const path of ['/shown/*', '/inner/1']) {
    const before = await bodies(target, 'ruled')
    await purge({ paths: ['/elsewhere/*', '/1'] }, 'ruled')
    expect(await bodies(target, 'ruled')).toEqual(before)
    await purge({ paths: [path] }, 'ruled')
    expect((await bodies(target, 'ruled')).some((body) => before.includes(body))).toBe(false)
    await fill(target, 'ruled')
  }
})

test('by a tag in any script, however the app has written it', async () => {
  const [latin, utf8] = [wish('/latin', tagged('préis')), wish('/utf8', tagged(Buffer.from('価格').toString('latin1')))]
  await Promise.all([latin, utf8].map((target) => fill(target)))
  const before = await Promise.all([latin, utf8].map((target) => bodies(target)))
  await purge({ tags: ['préis', '価格'] })
  const after = await Promise.all([latin, utf8].map((target) => bodies(target)))
  for (const place of [0, 1]) expect(after[place]?.some((body) => before[place]?.includes(body))).toBe(false)
})

test("all of one app's answers, and no other app's", async () => {
  const target = wish('/all', forAll())
  await Promise.all([fill(target), fill(target, 'other')])
  const [before, others] = [await bodies(target), await bodies(target, 'other')]
  await purge({ all: true })
  expect((await bodies(target)).some((body) => before.includes(body))).toBe(false)
  expect(await bodies(target, 'other')).toEqual(others)
})

test('what the app was asked before the purge is not kept after it', async () => {
  const target = wish('/slow', forAll({ holdFrom: 1 }))
  const asked = async () => JSON.parse((await edge.ask('one', '/asked')).body).asked['/slow'] ?? 0
  const before = ask(target)
  await expect.poll(asked).toBe(1)
  await purge({ tags: ['anything'] })
  await edge.ask('one', '/release')
  expect(await before).toBe('miss one 1')
  const after = Promise.all(Array.from({ length: 8 }, () => ask(target)))
  await expect.poll(asked).toBeGreaterThan(1)
  await edge.ask('one', '/release')
  for (const answer of await after) expect(answer).not.toMatch(/one 1$/)
})

test('an edge that missed the notification catches up with its next comparison', async () => {
  const target = wish('/missed', forAll())
  const purgeQuietly = (id: string, app: string) =>
    edge.sql.begin(async (tx) => {
      await tx`alter table purges disable trigger purges_made`
      await tx`insert into purges (id, app_id, tags, paths, everything, by) values (${id}, ${app}, '{}', '{}', true, 'test')`
      await tx`alter table purges enable trigger purges_made`
    })
  await fill(target)
  const before = await bodies(target)
  // Seen with a comparison: the next one is some seconds off.
  await purgeQuietly('first', 'other')
  expect(await awaitPurgeSeen(edge.sql, 'first', { timeoutMs: 60_000 })).toEqual({ edges: 1, missing: 0 })
  await purgeQuietly('quiet', 'one')
  expect((await bodies(target)).every((body) => before.includes(body))).toBe(true)
  expect(await awaitPurgeSeen(edge.sql, 'quiet', { timeoutMs: 60_000 })).toEqual({ edges: 1, missing: 0 })
  expect((await bodies(target)).some((body) => before.includes(body))).toBe(false)
})

test('under load, nobody gets an answer from before a purge that has returned', async () => {
  const target = wish('/load', forAll({ delay: 5, headers: { 'cache-tag': 'load' } }))
  let isOver = false
  let newest = 0
  let served = 0
  const numberIn = (answer: string) => Number(/(\d+)$/.exec(answer)?.[1])
  const wrong: string[] = []
  const clients = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      const floor = newest
      const answer = await ask(target)
      served++
      if (!(numberIn(answer) > floor)) wrong.push(`${answer} after ${floor}`)
    }
  })
  for (let turn = 0; turn < 20; turn++) {
    await pause(30)
    const asked = JSON.parse((await edge.ask('one', '/asked')).body).asked['/load'] ?? 0
    await purge({ tags: ['load'] })
    newest = asked
  }
  await expect.poll(() => served).toBeGreaterThan(100)
  isOver = true
  await Promise.all(clients)
  expect(wrong).toEqual([])
})
