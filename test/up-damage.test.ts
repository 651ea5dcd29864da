import { chown, cp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask } from './support/http.ts'
import { Platform } from './support/platform.ts'

let platform: Platform

// A home that has run and ended well; every test damages one file of it, and puts it back.
beforeAll(async () => {
  platform = await Platform.prepare()
  await platform.start()
  await platform.stop()
})

// The positive control: with every file back in its place it starts, so it was the damage that was refused.
afterAll(async () => {
  await platform.start()
  await platform[Symbol.asyncDispose]()
})

/** Another content, or none, until the end of the block. */
async function damage(name: string, content: string | null): Promise<AsyncDisposable> {
  const path = join(platform.home, name)
  const { uid, gid, mode } = await stat(path)
  await rename(path, `${path}.kept`)
  if (content !== null) {
    await writeFile(path, content, { mode })
    await chown(path, uid, gid)
  }
  return {
    async [Symbol.asyncDispose]() {
      await rm(path, { force: true })
      await rename(`${path}.kept`, path)
    },
  }
}

async function refusal() {
  platform.launch()
  const { code, stdout, stderr } = await platform.exit()
  await platform.expectNothingLeft()
  expect(stdout).toBe('')
  return { code, said: stderr }
}

test.each([
  ['17\n', 'was made by Postgres 17 and this Atelier brings Postgres 18'],
  ['what?\n', 'is damaged: its PG_VERSION is missing or garbled'],
  [null, 'is damaged: its PG_VERSION is missing or garbled'],
])('a database whose PG_VERSION says %j is left alone', async (content, sentence) => {
  await using _ = await damage('postgres/PG_VERSION', content)
  const { code, said } = await refusal()
  expect(code).toBe(1)
  expect(said).toContain(`atelier: the database in ${platform.home}/postgres ${sentence}`)
})

test('a database that Postgres cannot start gives its last words', async () => {
  await using _ = await damage('postgres/global/pg_control', 'cut short')
  const { code, said } = await refusal()
  expect(code).toBe(3)
  expect(said).toContain(`Postgres does not start in ${platform.home}/postgres; its last words:`)
  expect(said).toContain('pg_control')
})

test.each(['{"postgres": "x"}', 'not json', ''])('passwords that read %j are called damaged', async (content) => {
  await using _ = await damage('secrets/postgres.json', content)
  expect(await refusal()).toEqual({
    code: 1,
    said: `atelier: ${platform.home}/secrets/postgres.json is damaged; restore it from a backup\n`,
  })
})

test('a database whose passwords are gone is not made anew', async () => {
  await using _ = await damage('secrets/postgres.json', null)
  const { code, said } = await refusal()
  expect(code).toBe(1)
  expect(said).toContain('the home has a database and its passwords are gone')
})

test('a damaged key is named before anything starts', async () => {
  await using _ = await damage('secrets/key', 'short')
  const { code, said } = await refusal()
  expect(code).toBe(1)
  expect(said).toContain(`${platform.home}/secrets/key must be 32 bytes in base64`)
})

test('a damaged admin token is replaced by one that is let in', async () => {
  await using _ = await damage('admin-token', 'garbage\n')
  await platform.start()
  const headers = { authorization: `Bearer ${await platform.adminToken()}` }
  expect(await ask(platform.port, 'api.localhost', '/api/platform/apps', { headers })).toMatchObject({ status: 200 })
  await platform.stop()
})

test('a first start that was cut off while it made the database is done again', async () => {
  await using fresh = await Platform.prepare()
  await cp(join(platform.home, 'postgres'), join(fresh.home, 'postgres.new'), { recursive: true })
  await fresh.start()
  expect(await readdir(fresh.home)).not.toContain('postgres.new')
})
