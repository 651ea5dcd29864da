import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { access, readdir, readFile, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createApp, findApp } from '../registry/apps.ts'
import { AppError } from '../registry/errors.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { flushPacket, packet } from './pkt-line.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo } from './test-repo.ts'

let database: TestDatabase
let gateway: TestGateway

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database, { env: { ATELIER_PUSH_MAX_MB: '2', ATELIER_CHECKOUT_MAX_MB: '3' } })
  await createApp(database.sql, { id: 'taken', by: 'test' })
})
// Whatever a test sent, the gateway goes on serving and leaves nothing running.
afterEach(async () => {
  expect(await send('GET', '/health')).toMatchObject({ status: 200 })
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

test('without a token nothing is answered, on any method and path, and nothing is made', async () => {
  const command = packet(`${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/main\0report-status`)
  for (const app of ['taken', 'not-there']) {
    for (const path of [
      'info/refs?service=git-receive-pack',
      'info/refs?service=git-upload-pack',
      'git-receive-pack',
      'git-upload-pack',
    ]) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'HEAD']) {
        for (const authorization of [undefined, 'Basic', 'Bearer atl_x', basic('nobody', 'atl_wrong')]) {
          const answer = await send(method, `/${app}.git/${path}`, {
            authorization,
            body: method === 'POST' ? command : undefined,
          })
          expect(answer.status).toBe(401)
          expect(answer.headers['www-authenticate']).toContain('Basic')
        }
      }
    }
  }
  expect(await readdir(join(gateway.home, 'git'))).toEqual([])
})

test('a token of another app finds nothing', async () => {
  const authorization = basic('eve', await gateway.token('deploy', 'taken'))
  await createApp(database.sql, { id: 'private', by: 'test' })
  const there = await send('GET', '/private.git/info/refs?service=git-receive-pack', { authorization })
  const absent = await send('GET', '/absent.git/info/refs?service=git-receive-pack', { authorization })
  expect(there.status).toBe(404)
  expect(absent).toMatchObject({ status: 404, text: there.text.replace('private', 'absent') })
})

test('the paths of the older protocol lead nowhere and make nothing', async () => {
  const authorization = basic('ada', gateway.secret)
  for (const path of ['/new/HEAD', '/new.git/info/refs', '/taken.git/config', '/taken.git/HEAD']) {
    expect(await send('GET', path, { authorization })).toMatchObject({ status: 404 })
  }
  expect(await send('PUT', '/taken.git/git-receive-pack', { authorization })).toMatchObject({ status: 400 })
  await expect(access(gateway.repository('new'))).rejects.toMatchObject({ code: 'ENOENT' })
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

test('a push that is too large is refused with the limit and its setting', async () => {
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

test('a small pack that unfolds to a large checkout is refused before it is kept', async () => {
  await using repo = await makeRepo(gateway.url('unfolding'))
  await writeFile(join(repo.path, 'zeros.bin'), Buffer.alloc(4 * 1_048_576))
  await repo.commit({})
  const pushed = await repo.push('main')
  expect(pushed.stderr).toContain("(the files are more than 3 MB, this server's limit (ATELIER_CHECKOUT_MAX_MB))")
  expect(await findApp(database.sql, 'unfolding')).toBeNull()
})

test('a tree of trees that unfolds without end is refused quickly', async () => {
  await using repo = await makeRepo(gateway.url('bomb'))
  let entry = (await repo.git('hash-object', '-w', '--stdin')).stdout.trim()
  let line = `100644 blob ${entry}\tfile`
  for (let depth = 0; depth < 12; depth++) {
    const lines = Array.from({ length: 10 }, (_, index) => line.replace(/\t.*/, `\t${index}`)).join('\n')
    await writeFile(join(repo.path, 'tree'), `${lines}\n`)
    entry = (await repo.git('-c', 'alias.mk=!git mktree < tree', 'mk')).stdout.trim()
    line = `040000 tree ${entry}\tdir`
  }
  const commit = (await repo.git('commit-tree', entry, '-m', 'bomb')).stdout.trim()
  const startedAt = performance.now()
  const pushed = await repo.push(`${commit}:refs/heads/main`)
  expect(pushed.stderr).toContain("(more than 50000 files, this server's limit (ATELIER_CHECKOUT_MAX_FILES))")
  expect(performance.now() - startedAt).toBeLessThan(30_000)
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

test('a tree with a .git inside is refused', async () => {
  await using repo = await makeRepo(gateway.url('hostile'))
  const blob = (await repo.git('hash-object', '-w', '--stdin')).stdout.trim()
  await writeFile(join(repo.path, 'tree'), `100644 blob ${blob}\t.GIT\n`)
  const tree = (await repo.git('-c', 'core.protectHFS=false', '-c', 'alias.mk=!git mktree < tree', 'mk')).stdout.trim()
  const commit = (await repo.git('commit-tree', tree, '-m', 'hostile')).stdout.trim()
  const pushed = await repo.push(`${commit}:refs/heads/main`)
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain('hasDotgit')
  expect(await findApp(database.sql, 'hostile')).toBeNull()
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

test('garbage for a body is answered or cut, and the gateway lives', async () => {
  const authorization = basic('ada', gateway.secret)
  const gzip = { authorization, 'content-encoding': 'gzip' }
  const path = '/taken.git/git-receive-pack'
  const head = Buffer.concat([
    packet(`${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/main\0report-status side-band-64k`),
    flushPacket,
  ])

  expect(await send('POST', path, { ...gzip, body: Buffer.from('no gzip at all') })).toMatchObject({ status: 400 })
  expect(await send('POST', path, { ...gzip, 'content-encoding': 'br', body: head })).toMatchObject({ status: 400 })
  expect(await send('POST', path, { authorization, body: Buffer.from('zzzzgarbage') })).toMatchObject({ status: 400 })
  expect(await send('POST', path, { authorization, body: packet('not a command') })).toMatchObject({ status: 400 })
  expect(await send('POST', path, { authorization, body: head.subarray(0, 20) })).toMatchObject({ status: 400 })
  expect(await send('POST', path, { authorization, body: flushPacket })).toMatchObject({ status: 200, text: '' })
  expect(await send('POST', '/taken.git/git-upload-pack', { authorization, body: Buffer.from('zzzz') })).toMatchObject({
    status: 200,
  })

  const noPack = await send('POST', path, { authorization, body: Buffer.concat([head, Buffer.from('PACKgarbage')]) })
  expect(noPack.text).toContain('ng refs/heads/main unpacker error')
  const zipped = await send('POST', path, {
    ...gzip,
    body: gzipSync(Buffer.concat([head, Buffer.from('PACKgarbage')])),
  })
  expect(zipped.text).toContain('ng refs/heads/main unpacker error')
  const torn = gzipSync(Buffer.concat([head, randomBytes(100_000)]))
  await send('POST', path, { ...gzip, body: torn.subarray(0, 50_000) }).catch(() => 'cut')
  expect(await gateway.refs('taken')).toEqual({})
})

test('a gzip bomb ends at the limit', async () => {
  const authorization = basic('ada', gateway.secret)
  const head = Buffer.concat([
    packet(`${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/main\0report-status side-band-64k`),
    flushPacket,
  ])
  const bomb = gzipSync(Buffer.concat([head, Buffer.alloc(64 * 1_048_576)]))
  const before = process.memoryUsage().rss
  await send('POST', '/taken.git/git-receive-pack', { authorization, 'content-encoding': 'gzip', body: bomb }).catch(
    () => 'cut',
  )
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1_048_576)
})

test('clients that reset in mid-upload leave nothing behind', async () => {
  await using repo = await makeRepo(gateway.url('taken'))
  await writeFile(join(repo.path, 'random.bin'), randomBytes(1_000_000))
  const sha = await repo.commit({})
  await writeFile(join(repo.path, 'revs'), `${sha}\n`)
  await repo.git('-c', 'alias.mk=!git pack-objects --revs --stdout < revs > pack', 'mk')
  const command = packet(`${'0'.repeat(40)} ${sha} refs/heads/main\0report-status side-band-64k`)
  const body = Buffer.concat([command, flushPacket, await readFile(join(repo.path, 'pack'))])
  for (const share of [0, 0.0001, 0.001, 0.2, 0.5, 0.9, 0.999]) await resetAfter(body, Math.floor(body.length * share))
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
  expect(await gateway.refs('taken')).toEqual({})
  await expect.poll(() => quarantined('taken')).toEqual([])

  const whole = await send('POST', '/taken.git/git-receive-pack', { authorization: basic('ada', gateway.secret), body })
  expect(whole.text).toContain('ok refs/heads/main')
  expect(Object.keys(await gateway.refs('taken'))).toEqual(['refs/heads/main'])
})

test('a push that comes in single bytes is taken', async () => {
  const authorization = basic('ada', gateway.secret)
  const command = packet(`${'0'.repeat(40)} ${'1'.repeat(40)} refs/pull/1/head\0report-status`)
  const answer = await send('POST', '/taken.git/git-receive-pack', {
    authorization,
    chunks: [...command, ...flushPacket],
  })
  expect(answer).toMatchObject({
    status: 200,
    text: expect.stringContaining('ng refs/pull/1/head only branches and tags'),
  })
})

test('an upload on which nothing moves is cut, and its git ended', async () => {
  await using impatient = await startTestGateway(database, { idleTimeoutMs: 300 })
  const command = packet(`${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/main\0report-status side-band-64k`)
  const socket = connect(impatient.port, '127.0.0.1')
  const closed = once(socket, 'close')
  const authorization = basic('ada', await impatient.token('admin'))
  socket.write(
    `POST /taken.git/git-receive-pack HTTP/1.1\r\nHost: git.localhost\r\nAuthorization: ${authorization}\r\n`,
  )
  socket.write('Content-Length: 100000\r\n\r\n')
  socket.write(Buffer.concat([command, flushPacket, Buffer.from('PACK')]))
  await expect.poll(() => impatient.gitProcesses()).not.toEqual([])
  socket.resume()
  await closed
  await expect.poll(() => impatient.gitProcesses()).toEqual([])
})

async function quarantined(app: string): Promise<string[]> {
  return (await readdir(join(gateway.repository(app), 'objects'))).filter((name) => name.startsWith('tmp_'))
}

async function resetAfter(body: Buffer, bytes: number): Promise<void> {
  const socket = connect(gateway.port, '127.0.0.1')
  socket.on('error', () => undefined)
  const head = [
    'POST /taken.git/git-receive-pack HTTP/1.1',
    'Host: git.localhost',
    `Authorization: ${basic('ada', gateway.secret)}`,
    `Content-Length: ${body.length}`,
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n`)
  await new Promise<void>((resolve) => socket.write(body.subarray(0, bytes), () => resolve()))
  socket.resetAndDestroy()
}

type Sent = { authorization?: string; 'content-encoding'?: string; body?: Buffer; chunks?: number[] }
type Answer = { status: number; headers: Record<string, string | string[] | undefined>; text: string }

function send(method: string, path: string, { body, chunks, ...headers }: Sent = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined))
    const sent = httpRequest({ host: '127.0.0.1', port: gateway.port, method, path, headers: given, agent: false })
    sent.on('error', reject)
    sent.on('response', (response) => {
      const parts: Buffer[] = []
      response.on('data', (chunk: Buffer) => parts.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(parts).toString('utf8'),
        }),
      )
    })
    for (const byte of chunks ?? []) sent.write(Buffer.from([byte]))
    sent.end(body)
  })
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
