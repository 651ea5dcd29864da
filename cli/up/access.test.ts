import { mkdtemp, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { authenticate } from '../../registry/tokens.ts'
import { createDatabase } from '../../test/support/database.ts'
import { provideAccess } from './access.ts'

const databases = await Promise.all([createDatabase(), createDatabase()])
afterAll(() => Promise.all(databases.map((database) => database[Symbol.asyncDispose]())))

const newFile = async () => join(await mkdtemp(join(tmpdir(), 'access-')), 'admin-token')

test('C2: two fresh platforms have admin tokens of their own, each good for its own alone', async () => {
  const secrets = await Promise.all(
    databases.map(async ({ sql }) => {
      const file = await newFile()
      await provideAccess(sql, file)
      expect((await stat(file)).mode & 0o777).toBe(0o600)
      return (await readFile(file, 'utf8')).trim()
    }),
  )
  expect(new Set(secrets).size).toBe(2)
  const [mine = '', theirs = ''] = secrets
  expect(await authenticate(databases[0].sql, mine)).toMatchObject({ scope: 'admin' })
  expect(await authenticate(databases[0].sql, theirs)).toBeNull()
})

test.each(['', 'admin', 'changeme', 'atl_example', `atl_${'a'.repeat(20)}`, '<your token here>'])(
  'C2: %j in the file of the admin token is not taken for one, but replaced',
  async (content) => {
    const [{ sql }] = databases
    const file = await newFile()
    await writeFile(file, content)
    await provideAccess(sql, file)
    const secret = (await readFile(file, 'utf8')).trim()
    expect(secret).toMatch(/^atl_[\w-]{43}$/)
    expect(await authenticate(sql, secret)).toMatchObject({ scope: 'admin' })
    expect(await authenticate(sql, content)).toBeNull()
  },
)
