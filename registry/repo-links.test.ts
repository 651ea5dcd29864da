import { randomBytes } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp } from './apps.ts'
import { linkRepo, type NewRepoLink, openHostToken } from './repo-links.ts'

const database = await createDatabase()
const { sql } = database
const key = randomBytes(32)
afterAll(() => database[Symbol.asyncDispose]())

test('C7: a token that was kept goes to the API it was given for, and to no other that somebody names later', async () => {
  await createApp(sql, { id: 'linked', by: 'ada' })
  const first: NewRepoLink = {
    ...{ appId: 'linked', host: 'gitea', url: 'https://git.example/a/b.git', apiUrl: 'https://git.example/api/v1' },
    ...{ fullName: 'a/b', forks: 'off', secret: 'x', token: 'canary-host', by: 'ada' },
  }
  const tokenOf = async (wanted: Partial<NewRepoLink>) =>
    openHostToken(await linkRepo(sql, { ...first, ...wanted }, key), key)
  expect(await tokenOf({})).toBe('canary-host')
  expect(await tokenOf({ token: null, forks: 'approve' })).toBe('canary-host')
  expect(await tokenOf({ token: null, apiUrl: 'https://mallory.example/api' })).toBe(null)
  expect(await tokenOf({ token: null })).toBe(null)
  expect(await tokenOf({ token: 'another', apiUrl: 'https://api.example' })).toBe('another')
})
