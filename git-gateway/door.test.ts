import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createApp } from '../registry/apps.ts'
import type { authenticate } from '../registry/tokens.ts'
import { createToken, deleteToken } from '../registry/tokens.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { Git } from './git.ts'
import { packet } from './pkt-line.ts'
import { basic, clientOf, pushHead } from './test-client.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo } from './test-repo.ts'

// Who comes in at all: rows G1, G2, G6, G7 and G15 of the threat table.

let database: TestDatabase
let gateway: TestGateway
let client: ReturnType<typeof clientOf>
let sha: string

const services = ['git-upload-pack', 'git-receive-pack'] as const
const pathsOf = (app: string) => [
  ...services.flatMap((service) => [`/${app}.git/info/refs?service=${service}`, `/${app}.git/${service}`]),
]
const methods = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS']

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database)
  client = clientOf(gateway)
  for (const app of ['taken', 'foreign']) await createApp(database.sql, { id: app, by: 'test' })
  await using repo = await makeRepo(gateway.url('taken'))
  sha = await repo.commit({ a: '1' })
  await repo.push('main')
})
afterEach(() => {
  vi.restoreAllMocks()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

describe('G1 every method and path asks for a token', () => {
  const command = Buffer.concat([pushHead('1'.repeat(40)), Buffer.from('0000')])

  test('G1: without a token, and with none that is known, nothing is answered: the same words for an app that is there and one that is not', async () => {
    const gits = watchGit()
    const credentials = [
      undefined,
      '',
      'Basic',
      'Basic ',
      'Bearer atl_x',
      `Bearer ${gateway.secret}`,
      basic('atl_wrong'),
      basic(`atl_${'x'.repeat(43)}`),
      basic(''),
      basic(await expiredToken()),
      basic(await revokedToken()),
      basic(gateway.secret.slice(0, -1)),
      basic(`${gateway.secret} `),
      basic("' or 1=1 --"),
    ]
    for (const authorization of credentials) {
      const answers = await Promise.all(['taken', 'not-there'].map((app) => askEverything(app, authorization)))
      expect(new Set(answers.flat().map(({ status }) => status))).toEqual(new Set([401]))
      expect(answers[0]).toEqual(answers[1])
    }
    expect(gits()).toBe(0)
    expect(await gateway.refs('taken')).toEqual({ 'refs/heads/main': sha })
    expect(await readdir(join(gateway.home, 'git'))).not.toContain('not-there.git')
  })

  test('G1: the token of another app finds nothing, the same as of an app that is not there', async () => {
    const gits = watchGit()
    const authorization = basic(await gateway.token('deploy', 'foreign'))
    const answers = await Promise.all(['taken', 'not-there'].map((app) => askEverything(app, authorization)))
    expect(new Set(answers.flat().map(({ status }) => status))).toEqual(new Set([404]))
    expect(answers[0]).toEqual(answers[1])
    expect(gits()).toBe(0)
    expect(await gateway.refs('taken')).toEqual({ 'refs/heads/main': sha })
  })

  test('G1: a token that may read is let in to read and to nothing else', async () => {
    const authorization = basic(await gateway.token('read', 'taken'))
    const statusOf = async (method: string, path: string) =>
      (await client.send(method, path, { headers: { authorization }, ...(method === 'POST' && { body: command }) }))
        .status
    const gits = watchGit()
    for (const method of methods) {
      for (const path of pathsOf('taken').filter((path) => path.includes('receive-pack')))
        expect(await statusOf(method, path), `${method} ${path}`).toBe(403)
      for (const path of pathsOf('not-there')) expect(await statusOf(method, path), `${method} ${path}`).toBe(404)
    }
    expect(gits()).toBe(0)
    expect(await statusOf('GET', '/taken.git/info/refs?service=git-upload-pack')).toBe(200)
    expect(gits()).toBe(1)
    expect(await gateway.refs('taken')).toEqual({ 'refs/heads/main': sha })
  })

  test('G1: the methods that git does not use are refused to those who may everything', async () => {
    const gits = watchGit()
    for (const path of pathsOf('taken')) {
      const right = path.includes('info/refs') ? 'GET' : 'POST'
      for (const method of methods.filter((method) => method !== right))
        expect(await client.send(method, path, { headers: { authorization: basic(gateway.secret) } })).toMatchObject({
          status: 400,
        })
    }
    expect(gits()).toBe(0)
  })

  test('G1: a token that is taken away between the two requests of a push is refused at the second', async () => {
    const { token, secret } = await createToken(database.sql, { name: 'leaver', scope: 'deploy' })
    const headers = { authorization: basic(secret) }
    const refs = '/taken.git/info/refs?service=git-receive-pack'
    expect(await client.send('GET', refs, { headers })).toMatchObject({ status: 200 })
    await deleteToken(database.sql, token.id)
    expect(await client.send('POST', '/taken.git/git-receive-pack', { headers, body: command })).toMatchObject({
      status: 401,
    })
  })

  async function askEverything(app: string, authorization: string | undefined) {
    const answers = []
    for (const path of pathsOf(app)) {
      for (const method of methods) {
        const body = method === 'POST' ? command : undefined
        const { status, text } = await client.send(method, path, { headers: { authorization }, body })
        answers.push({ status, text: text.replaceAll(app, '<app>') })
      }
    }
    return answers
  }
})

test('G2: the paths of the older protocol lead nowhere and make nothing, with a token and without', async () => {
  const gits = watchGit()
  for (const authorization of [undefined, basic(gateway.secret)]) {
    for (const path of ['/new/HEAD', '/new.git/HEAD', '/new.git/info/refs', '/new/info/refs?service=git-receive-pack'])
      expect(await client.send('GET', path, { headers: { authorization } }), path).toMatchObject({ status: 404 })
  }
  expect(gits()).toBe(0)
  await expect(access(gateway.repository('new'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('G2: a new app is advertised as empty to a token that may create it, and made by nothing but the push', async () => {
  const path = '/new.git/info/refs?service=git-receive-pack'
  const allowed = await client.send('GET', path, { headers: { authorization: basic(gateway.secret) } })
  expect(allowed).toMatchObject({ status: 200, text: expect.stringContaining('capabilities^{}') })
  for (const scope of ['read', 'deploy'] as const) {
    const authorization = basic(await gateway.token(scope, 'taken'))
    expect(await client.send('GET', path, { headers: { authorization } })).toMatchObject({ status: 404 })
  }
  await expect(access(gateway.repository('new'))).rejects.toMatchObject({ code: 'ENOENT' })
})

describe('G6 whatever asking for the token does instead of answering, nobody gets in', () => {
  const caller = { tokenId: 't', name: 'eve', scope: 'admin', limitedTo: null, person: null } as const
  const ways: Record<string, typeof authenticate> = {
    'rejects with an error': () => Promise.reject(new Error('no')),
    'rejects with nothing': () => Promise.reject(undefined),
    throws: () => {
      throw new Error('no')
    },
    'resolves to an error': async () => Object.assign(new Error('no'), { scope: undefined }) as never,
    'resolves to nothing': async () => null,
    'resolves to true': async () => true as never,
    'never settles': () => new Promise(() => undefined),
    'answers when it is too late': () => new Promise((resolve) => setTimeout(() => resolve(caller), 5_200)),
  }

  test.concurrent.each(Object.entries(ways))('G6: it %s', async (_way, identify) => {
    await using door = await startTestGateway(database, { identify })
    const { send } = clientOf(door)
    const headers = { authorization: basic(gateway.secret) }
    const askedAt = performance.now()
    await send('GET', '/taken.git/info/refs?service=git-upload-pack')
    const startedAt = performance.now()
    const waited = pause(4_500).then(() => performance.now())
    const answers = await Promise.all(
      pathsOf('taken').map((path) =>
        send(path.includes('info/refs') ? 'GET' : 'POST', path, { headers, body: undefined }),
      ),
    )
    // Half a second beside what is waited for the token, or more where the machine is busy just now.
    const answeredAt = performance.now()
    expect(answeredAt).toBeLessThan((await waited) + Math.max(500, 10 * (startedAt - askedAt)))
    for (const { status, text } of answers) {
      expect([401, 500, 503]).toContain(status)
      if (_way.includes('late') || _way.includes('never')) expect(status).toBe(503)
      expect(text).not.toContain('refs/heads')
    }
    expect(await door.gitProcesses()).toEqual([])
  })

  test('G6: a token that is known comes in', async () => {
    await using door = await startTestGateway(database, { identify: async () => caller })
    const refs = await clientOf(door).send('GET', '/taken.git/info/refs?service=git-receive-pack', {
      headers: { authorization: basic('whatever') },
    })
    expect(refs).toMatchObject({ status: 200 })
  })
})

describe('G7 an address is read in one way only', () => {
  test.each([
    'http://victim/app.git/git-upload-pack',
    'http://git.localhost/taken.git/info/refs?service=git-upload-pack',
    '/taken.git/?/victim.git/git-upload-pack',
    '/?/taken.git/git-upload-pack',
    '//taken.git/git-upload-pack',
    '/taken.git//git-upload-pack',
    '/%2e%2e/taken.git/git-upload-pack',
    '/../taken.git/git-upload-pack',
    '/taken%2egit/git-upload-pack',
    '/..\\taken.git\\git-upload-pack',
    '/taken.git\\git-upload-pack',
    '/taken%00.git/git-upload-pack',
    '/taken.git/git-upload-pack%00',
    '/taken.git./git-upload-pack',
    '/taken..git/git-upload-pack',
    '/taken.git/git-upload-pack.',
    '/taken.git/git-upload-pack/',
    '/a.git/b.git/git-upload-pack',
    '/taken.git/a/git-upload-pack',
    '/Taken.git/git-upload-pack',
    '/taken.GIT/git-upload-pack',
    '/taken.git/Git-Upload-Pack',
    '/taken.git/git-upload-pack?x=1',
    '/taken.git/git-upload-pack#x',
    '/taken.git/info/refs?service=git-upload-pack&service=git-receive-pack',
    '/taken.git/info/refs?service=git-upload-pack%00',
    '/taken.git/info/refs?x=1&service=git-upload-pack',
    '/taken.git/info/refs?service=git-upload-archive',
    `/${'a'.repeat(39)}.git/git-upload-pack`,
    '/.git/git-upload-pack',
    '/-taken.git/git-upload-pack',
    '/taken-pr-1.git/git-upload-pack',
  ])('G7: %s is no address', async (target) => {
    const gits = watchGit()
    for (const method of ['GET', 'POST']) {
      expect(await client.sendTarget(method, target, { Authorization: basic(gateway.secret) })).toBe(400)
    }
    expect(gits()).toBe(0)
  })

  test('G7: the four addresses of an app are', async () => {
    const asked = pathsOf('taken').map((path) =>
      client.sendTarget(path.includes('info/refs') ? 'GET' : 'POST', path, { Authorization: basic(gateway.secret) }),
    )
    // A push that says nothing is not valid, but it was taken for a push.
    expect(await Promise.all(asked)).toEqual([200, 200, 200, 400])
  })
})

test('G15: a token that may read is not told what a push would be told, and no file of a repository can be asked for', async () => {
  const reader = basic(await gateway.token('read', 'taken'))
  const refs = '/taken.git/info/refs?service=git-receive-pack'
  const refused = await client.send('GET', refs, { headers: { authorization: reader } })
  expect(refused.status).toBe(403)
  expect(refused.text).not.toContain(sha)
  const files = ['config', 'HEAD', 'objects/info/packs', `objects/${sha.slice(0, 2)}/${sha.slice(2)}`]
  for (const authorization of [reader, basic(gateway.secret)]) {
    for (const file of files)
      expect(await client.send('GET', `/taken.git/${file}`, { headers: { authorization } }), file).toMatchObject({
        status: 404,
      })
    for (const file of ['refs/heads/main', 'packed-refs', 'hooks/pre-receive', 'atelier-app', 'info/attributes'])
      expect([400, 404]).toContain(
        (await client.send('GET', `/taken.git/${file}`, { headers: { authorization } })).status,
      )
  }
})

test('G1: an answer in git’s own packets is for failures of the platform, never for credentials', async () => {
  const headers = { authorization: basic('atl_wrong'), 'content-type': 'application/x-git-receive-pack-request' }
  const body = packet('x')
  expect(await client.send('POST', '/taken.git/git-receive-pack', { headers, body })).toMatchObject({ status: 401 })
})

/** Counts the gits that the gateway starts from now on. */
function watchGit(): () => number {
  const spies = [vi.spyOn(Git.prototype, 'start'), vi.spyOn(Git.prototype, 'run')]
  return () => spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0)
}

async function expiredToken(): Promise<string> {
  const expiresAt = new Date(Date.now() - 1000)
  return (await createToken(database.sql, { name: 'expired', scope: 'admin', expiresAt })).secret
}

async function revokedToken(): Promise<string> {
  const { token, secret } = await createToken(database.sql, { name: 'revoked', scope: 'admin' })
  await deleteToken(database.sql, token.id)
  return secret
}

test('Git LFS is told that it is not supported, with a token and without, and the same of every app', async () => {
  const gits = watchGit()
  for (const app of ['taken', 'not-there'])
    for (const authorization of [undefined, basic(gateway.secret)]) {
      const answer = await client.send('POST', `/${app}.git/info/lfs/objects/batch`, { headers: { authorization } })
      expect(answer).toMatchObject({ status: 422 })
      expect(JSON.parse(answer.text)).toMatchObject({ message: expect.stringContaining('takes no Git LFS files') })
    }
  expect(await client.sendTarget('POST', '/taken.git/info/lfs/../../git-upload-pack', {})).toBe(400)
  expect(gits()).toBe(0)
})
