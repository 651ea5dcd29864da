import { randomBytes } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { findApp } from '../registry/apps.ts'
import { AppError } from '../registry/errors.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { clientOf } from './test-client.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo } from './test-repo.ts'

let database: TestDatabase
let gateway: TestGateway

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database, { env: { ATELIER_PUSH_MAX_MB: '2', ATELIER_CHECKOUT_MAX_MB: '3' } })
})
// Whatever a test sent, the gateway goes on serving and leaves nothing running.
afterEach(async () => {
  expect(await clientOf(gateway).send('GET', '/health')).toMatchObject({ status: 200 })
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

test('git shows why: wrong token, no such app for this token, an impossible name', async () => {
  await using repo = await makeRepo(gateway.url('hello', { password: 'atl_wrong' }))
  await repo.commit({ a: '1' })
  expect((await repo.push('main')).stderr).toContain('remote: This token is not known here, or it has expired; ')

  const reader = await gateway.token('read')
  const unseen = await repo.git('push', gateway.url('hello', { password: reader }), 'main')
  expect(unseen.stderr).toContain('remote: There is no app hello, or this token may not see it.')

  const named = await repo.git('push', gateway.url('hello-pr-1'), 'main')
  expect(named.stderr).toContain(
    'remote: "hello-pr-1" cannot be an app name: names that end in -pr-<number> belong to previews',
  )

  const withoutSuffix = await repo.git('push', gateway.url('hello').replace('.git', ''), 'main')
  expect(withoutSuffix.stderr).toContain('remote: There is no repository here. The address of an app ends in .git')
})

test('G11: a push that is too large is refused with the limit and its setting', async () => {
  await using repo = await makeRepo(gateway.url('large'))
  await writeFile(join(repo.path, 'random.bin'), randomBytes(4 * 1_048_576))
  await repo.commit({})
  const pushed = await repo.push('main')
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain(
    "! [remote rejected] main -> main (the push is larger than 2 MB, this server's limit (ATELIER_PUSH_MAX_MB))",
  )
  expect(await findApp(database.sql, 'large')).toBeNull()
  expect(await readdir(join(gateway.home, 'git'))).not.toContain('large.git')

  await repo.git('checkout', '-q', '--orphan', 'small')
  await repo.git('rm', '-q', '-r', '--cached', '.')
  await repo.git('commit', '-q', '--allow-empty', '-m', 'small')
  await repo.push('small:main')
  expect(await repo.push('--force', 'main')).toMatchObject({ code: 1 })
  expect(await findApp(database.sql, 'large')).not.toBeNull()
  expect(await quarantined('large')).toEqual([])
})

test('G11: a small pack that unfolds to a large checkout is refused before it is kept', async () => {
  await using repo = await makeRepo(gateway.url('unfolding'))
  await writeFile(join(repo.path, 'zeros.bin'), Buffer.alloc(4 * 1_048_576))
  await repo.commit({})
  const pushed = await repo.push('main')
  expect(pushed.stderr).toContain("(the files are more than 3 MB, this server's limit (ATELIER_CHECKOUT_MAX_MB))")
  expect(await findApp(database.sql, 'unfolding')).toBeNull()
})

test('a branch holds commits: a tag object or a tree is refused', async () => {
  await using repo = await makeRepo(gateway.url('objects'))
  await repo.commit({ a: '1' })
  await repo.git('tag', '-a', 'v1', '-m', 'one')
  const tag = (await repo.git('rev-parse', 'v1')).stdout.trim()
  const tree = (await repo.git('rev-parse', 'HEAD^{tree}')).stdout.trim()
  for (const sha of [tag, tree]) {
    const pushed = await repo.push(`${sha}:refs/heads/main`)
    expect(pushed.stderr).toContain(`a branch holds commits, and ${sha.slice(0, 7)} is none`)
  }
})

test('a full store refuses the push and says so', async () => {
  await using repo = await makeRepo(gateway.url('full'))
  await repo.commit({ a: '1' })
  const put = gateway.store.put
  gateway.store.put = async (key) => {
    throw new AppError('STORE_UNAVAILABLE', `the bundle store cannot keep or read ${key}: the disk is full`)
  }
  const pushed = await repo.push('main')
  gateway.store.put = put
  expect(pushed.stderr).toMatch(/remote rejected\] main -> main \(the bundle store cannot keep .*: the disk is full\)/)
  expect(await repo.push('main')).toMatchObject({ code: 0 })
})

async function quarantined(app: string): Promise<string[]> {
  return (await readdir(join(gateway.repository(app), 'objects'))).filter((name) => name.startsWith('tmp_'))
}
