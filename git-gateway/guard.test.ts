import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { createApp } from '../registry/apps.ts'
import type { authenticate } from '../registry/tokens.ts'
import { createToken } from '../registry/tokens.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { authorize, readAddress, readPassword } from './guard.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await createDatabase()
  await createApp(database.sql, { id: 'hello', by: 'test' })
  await createApp(database.sql, { id: 'other', by: 'test' })
})
afterAll(() => database[Symbol.asyncDispose]())

test('the four addresses of a repository are understood', () => {
  expect(readAddress('/hello.git/info/refs?service=git-upload-pack')).toEqual({
    app: 'hello',
    service: 'git-upload-pack',
    discovery: true,
  })
  expect(readAddress('/hello.git/info/refs?service=git-receive-pack')).toMatchObject({ service: 'git-receive-pack' })
  expect(readAddress('/hello.git/git-upload-pack')).toMatchObject({ service: 'git-upload-pack', discovery: false })
  expect(readAddress('/my-app-2.git/git-receive-pack')).toMatchObject({ app: 'my-app-2', discovery: false })
})

test.each([
  'http://victim/app.git/git-upload-pack',
  '/own.git/?/victim.git/git-upload-pack',
  '//hello.git/git-upload-pack',
  '/%2e%2e/hello.git/git-upload-pack',
  '/hello%00.git/git-upload-pack',
  '/..\\hello.git/git-upload-pack',
  '/hello.git/git-upload-pack/',
  '/hello.git/git-upload-pack?x=1',
  '/hello.git/git-upload-pack\n',
  '/hello.git/info/refs?service=git-upload-pack&service=git-receive-pack',
  '/hello.git/info/refs?service=git-upload-archive',
  '/a.git/b.git/git-upload-pack',
  '/hello.git./git-upload-pack',
  '/hello.GIT/git-upload-pack',
  '',
  '*',
])('G7: %j is no address', (url) => {
  expect(() => readAddress(url)).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID' }))
})

test.each(['Hello', 'my_app', '1st', 'x-pr-1', 'a-git-b', 'end-', 'a.b', 'a'.repeat(39), '.', '..'])(
  'G7: an app cannot be called %j, and the address says why',
  (name) => {
    expect(() => readAddress(`/${name}.git/git-receive-pack`)).toThrow(
      expect.objectContaining({ code: 'APP_NAME_ILLEGAL' }),
    )
  },
)

test.each([
  '/new/HEAD',
  '/new.git/HEAD',
  '/new.git/info/refs',
  '/hello.git/config',
  '/hello.git/objects/info/packs',
  '/hello/info/refs?service=git-receive-pack',
])('G2: %j is a path of the older protocol: there is nothing there', (url) => {
  expect(() => readAddress(url)).toThrow(expect.objectContaining({ code: 'APP_NOT_FOUND' }))
})

test('the password is what follows the first colon', () => {
  expect(readPassword(basic('ada:se:cret'))).toBe('se:cret')
  expect(readPassword(basic(':secret'))).toBe('secret')
  expect(readPassword(basic('ada:secret').replace('Basic', 'basic'))).toBe('secret')
  for (const header of [
    undefined,
    '',
    'Basic',
    'Basic ',
    'Basic !!',
    'Bearer atl_x',
    basic('ada:'),
    basic('ada'),
    'Basic QQ==',
  ]) {
    expect(readPassword(header)).toBeNull()
  }
})

test('G1: a token may do on an app what its scope says, and learns nothing of apps it may not see', async () => {
  const push = readAddress('/hello.git/git-receive-pack')
  const fetch = readAddress('/hello.git/git-upload-pack')
  const newApp = readAddress('/brand-new.git/info/refs?service=git-receive-pack')
  const [reader, deployer, foreigner] = await Promise.all([
    secretOf('read'),
    secretOf('deploy'),
    secretOf('deploy', 'other'),
  ])

  expect(await ask(deployer, push)).toMatchObject({ app: { id: 'hello' } })
  expect(await ask(deployer, newApp)).toMatchObject({ app: null, caller: { scope: 'deploy' } })
  expect(await ask(reader, fetch)).toMatchObject({ app: { id: 'hello' } })
  await expect(ask(reader, push)).rejects.toMatchObject({ code: 'FORBIDDEN' })
  await expect(ask(reader, newApp)).rejects.toMatchObject({ code: 'APP_NOT_FOUND' })
  await expect(ask(deployer, { ...newApp, service: 'git-upload-pack' })).rejects.toMatchObject({
    code: 'APP_NOT_FOUND',
  })

  const refusals = await Promise.all(
    [push, fetch, newApp].map((address) =>
      ask(foreigner, { ...address, app: 'hello' }).catch((thrown) => thrown.message),
    ),
  )
  const absent = await ask(foreigner, newApp).catch((thrown) => thrown.message)
  expect(refusals.every((message) => message === absent.replace('brand-new', 'hello'))).toBe(true)
})

test('G6: whatever identifying does instead of answering, nobody gets in', async () => {
  const push = readAddress('/hello.git/git-receive-pack')
  const ways: (typeof authenticate)[] = [
    () => Promise.reject(new Error('no')),
    () => Promise.reject(undefined),
    async () => {
      throw new Error('no')
    },
    async () => null,
  ]
  for (const identify of ways) {
    const outcome = ask('x', push, identify).then(
      () => 'let in',
      () => 'refused',
    )
    expect(await outcome).toBe('refused')
  }
})

test('G6: a database that never answers is a refusal within five seconds', async () => {
  const push = readAddress('/hello.git/git-receive-pack')
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const refusal = expect(ask('x', push, () => new Promise(() => undefined))).rejects.toMatchObject({
    code: 'DATABASE_UNAVAILABLE',
  })
  await vi.advanceTimersByTimeAsync(4_999)
  vi.useRealTimers()
  await refusal
})

async function secretOf(scope: 'read' | 'deploy', appId: string | null = null): Promise<string> {
  return (await createToken(database.sql, { name: scope, scope, appId })).secret
}

function ask(secret: string, address: ReturnType<typeof readAddress>, identify?: typeof authenticate) {
  return authorize({ headers: { authorization: basic(`ada:${secret}`) } }, address, { sql: database.sql, identify })
}

function basic(credentials: string): string {
  return `Basic ${Buffer.from(credentials).toString('base64')}`
}
