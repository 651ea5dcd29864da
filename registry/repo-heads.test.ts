import { randomBytes } from 'node:crypto'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { claimHeads, settleHead } from './due-heads.ts'
import { newId } from './ids.ts'
import { closeOthers, closePullRequest, listHeads, notePullRequest } from './repo-heads.ts'
import { linkRepo } from './repo-links.ts'

const database = await createDatabase()
const { sql } = database
const key = randomBytes(32)
afterAll(() => database[Symbol.asyncDispose]())

let of: { linkId: string; appId: string }
beforeEach(async () => {
  await sql`delete from repo_links`
  const appId = newId()
  await createApp(sql, { id: appId, by: 'ada' })
  const where = { host: 'github' as const, url: 'https://git.example/a/b.git', apiUrl: 'https://git.example/api/v3' }
  const wanted = { ...where, appId, fullName: 'a/b', forks: 'off' as const, secret: 'x', token: null, by: 'ada' }
  of = { linkId: (await linkRepo(sql, wanted, key)).id, appId }
})

const sha = (letter: string) => letter.repeat(40)
const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds))
const open = (number: number, letter = 'a', seconds = 0) =>
  notePullRequest(sql, of, { number, headSha: sha(letter), isFork: false, saidAt: at(seconds) })
const heads = async () =>
  (await listHeads(sql, of.appId)).map(({ pullRequest, headSha, isOpen }) => [pullRequest, headSha[0], isOpen])

test('of the pull requests that a host has, those that are not in its list are closed, and newer ones left', async () => {
  await open(1)
  await open(2)
  const [{ before } = { before: new Date() }] = await sql<{ before: Date }[]>`select clock_timestamp() as before`
  await expect.poll(async () => (await sql`select clock_timestamp() > ${before} as later`)[0]?.later).toBe(true)
  await open(3)
  expect(await closeOthers(sql, of.linkId, { open: [2], before })).toEqual(['pr/1'])
  expect(await heads()).toEqual([
    [1, 'a', false],
    [2, 'a', true],
    [3, 'a', true],
  ])
  expect((await closeOthers(sql, of.linkId, { open: [], before: new Date(Date.now() + 60_000) })).sort()).toEqual([
    'pr/2',
    'pr/3',
  ])
})

test('what is said late changes nothing, and what is said twice is said once', async () => {
  await open(1, 'b', 10)
  await open(1, 'a', 5)
  expect(await heads()).toEqual([[1, 'b', true]])
  await closePullRequest(sql, of.linkId, { number: 1, saidAt: at(20) })
  await open(1, 'a', 15)
  expect(await heads()).toEqual([[1, 'b', false]])
  await open(1, 'b', 30)
  expect(await heads()).toEqual([[1, 'b', true]])
})

test('a head is taken by one at a time, and a newer one that comes meanwhile is still due', async () => {
  await open(1, 'a', 1)
  const [taken, none] = [await claimHeads(sql, 5), await claimHeads(sql, 5)]
  expect([taken.length, none.length]).toEqual([1, 0])
  await open(1, 'b', 2)
  for (const head of taken) await settleHead(sql, head, { note: 'later', refused: false })
  expect(await claimHeads(sql, 5)).toMatchObject([{ headSha: sha('b') }])
})
