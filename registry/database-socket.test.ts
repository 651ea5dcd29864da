import { once } from 'node:events'
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { connect, isUnreachable } from './sql.ts'

let database: TestDatabase
let network: Server
let port: number
/** What a firewall that drops packets, or a machine that has lost its power, looks like from here. */
let isBlackHole = false

beforeAll(async () => {
  database = await createDatabase()
  const directory = new URL(database.url).searchParams.get('host') ?? ''
  network = createServer((near) => {
    const far = connectTcp(`${directory}/.s.PGSQL.5432`)
    pass(near, far)
    pass(far, near)
  }).listen(0, '127.0.0.1')
  await once(network, 'listening')
  const address = network.address()
  port = typeof address === 'object' && address ? address.port : 0
})

afterAll(async () => {
  network?.close()
  await database?.[Symbol.asyncDispose]()
})

function pass(from: Socket, to: Socket): void {
  from.on('data', (bytes) => isBlackHole || to.write(bytes))
  from.on('error', () => to.destroy()).on('close', () => isBlackHole || to.destroy())
}

test('F6: connections to a Postgres that vanished without a word are given up, and made again when it is back', async () => {
  const { username, password, pathname } = new URL(database.url)
  const url = `postgres://${username}:${password}@127.0.0.1:${port}${pathname}`
  const sql = connect(url, { max: 3, answerWithinMs: 2_000 })
  let heard = 0
  await sql.listen('a_channel', () => {
    heard += 1
  })
  await Promise.all([1, 2, 3].map(() => sql`select pg_sleep(0.05)`))

  isBlackHole = true
  const asked = await Promise.allSettled([1, 2, 3].map(() => sql`select 1`))
  expect(asked.map((one) => one.status === 'rejected' && isUnreachable(one.reason))).toEqual([true, true, true])

  isBlackHole = false
  // A question that comes while a connection is being given up may fail like the others, and is not forgotten.
  const again = await Promise.allSettled([1, 2, 3].map(() => sql`select 1`))
  expect(again.every((one) => one.status === 'fulfilled' || isUnreachable(one.reason))).toBe(true)
  const all = () => Promise.all([1, 2, 3].map((n) => sql`select ${n}::integer as n`)).catch(() => null)
  await expect.poll(all).toEqual([1, 2, 3].map((n) => [{ n }]))
  await sql.notify('a_channel', 'still listening')
  await expect.poll(() => heard).toBeGreaterThan(0)
  await sql.end({ timeout: 1 })
})

test('a statement that takes longer than the deadline is ended by the server, and the connection goes on', async () => {
  const sql = connect(database.url, { max: 1 })
  const [{ timeout } = { timeout: '' }] = await sql<{ timeout: string }[]>`
    select current_setting('statement_timeout') as timeout
  `
  expect(timeout).toBe('15s')
  await sql`set statement_timeout = 50`
  await expect(sql`select pg_sleep(5)`).rejects.toMatchObject({ code: '57014' })
  expect(await sql`select 1 as one`).toEqual([{ one: 1 }])
  await sql.end()
})

test('texts and times go to the database as arrays, whatever is in them', async () => {
  const texts = ['plain', '', 'a "quoted" one', 'back\\slash', '{,}', 'null', 'zwei\nzeilen ✓']
  const times = [new Date(0), new Date(1e12)].map((time) => time.toISOString())
  const rows = await database.sql<{ text: string }[]>`select text from unnest(${texts}::text[]) as given (text)`
  expect(rows.map(({ text }) => text)).toEqual(texts)
  expect(await database.sql`select 1 from unnest(${[]}::text[])`).toEqual([])
  expect(await database.sql`select count(*)::integer as n from unnest(${times}::timestamptz[])`).toEqual([{ n: 2 }])
  expect(await database.sql`select 'a' = any(${['b', 'a']}) as found`).toEqual([{ found: true }])
})
