import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../registry/apps.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { flushPacket, packet } from './pkt-line.ts'
import { basic, clientOf, pushHead } from './test-client.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo, startGit } from './test-repo.ts'

// Clients that send garbage, stop, or leave: rows G3 and G4 of the threat table.

const push = '/taken.git/git-receive-pack'
// Whoever sends goes on doing so within it, also on a machine that is busy.
const idleTimeoutMs = 3_000

let database: TestDatabase
let gateway: TestGateway
let client: ReturnType<typeof clientOf>
let headers: { authorization: string }

async function open(options: Parameters<typeof startTestGateway>[1]) {
  database = await createDatabase()
  gateway = await startTestGateway(database, options)
  client = clientOf(gateway)
  headers = { authorization: basic(gateway.secret) }
  await createApp(database.sql, { id: 'taken', by: 'test' })
}
// Whatever a test sent, the gateway goes on serving and nothing is left running.
afterEach(async () => {
  expect(await client.send('GET', '/health')).toMatchObject({ status: 200 })
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
  await expect.poll(() => quarantined('taken')).toEqual([])
})
async function close() {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
}

describe('G3 no request ends the gateway', () => {
  let pid: number | undefined
  // A process of its own, as in the platform.
  beforeAll(async () => {
    await open({ asProcess: {} })
    pid = gateway.pid()
  })
  afterEach(() => expect(gateway.isRunning() && gateway.pid()).toBe(pid))
  afterAll(close)

  test('G3: garbage for a body is answered or cut', async () => {
    const gzip = { ...headers, 'content-encoding': 'gzip' }
    const head = pushHead('1'.repeat(40))
    const answerTo = (body: Buffer, given: Record<string, string> = headers, path = push) =>
      client.send('POST', path, { headers: given, body })

    expect(await answerTo(Buffer.from('no gzip at all'), gzip)).toMatchObject({ status: 400 })
    expect(await answerTo(head, { ...gzip, 'content-encoding': 'br' })).toMatchObject({ status: 400 })
    for (const body of ['zzzzgarbage', '', '0', '00', '0000', '0001', '0004', 'fff0']) {
      const { status } = await answerTo(Buffer.from(body))
      // An empty list of updates is git's probe.
      expect(status, body).toBe(body === '0000' ? 200 : 400)
    }
    expect(await answerTo(packet('not a command'))).toMatchObject({ status: 400 })
    expect(await answerTo(head.subarray(0, 20))).toMatchObject({ status: 400 })
    expect(await answerTo(flushPacket)).toMatchObject({ status: 200, text: '' })
    expect(await answerTo(Buffer.from('zzzz'), headers, '/taken.git/git-upload-pack')).toMatchObject({ status: 200 })

    const noPack = Buffer.concat([head, Buffer.from('PACKgarbage')])
    expect((await answerTo(noPack)).text).toContain('ng refs/heads/main unpacker error')
    expect((await answerTo(gzipSync(noPack), gzip)).text).toContain('ng refs/heads/main unpacker error')
    const torn = gzipSync(Buffer.concat([head, randomBytes(100_000)]))
    await answerTo(torn.subarray(0, 50_000), gzip).catch(() => 'cut')
    expect(await gateway.refs('taken')).toEqual({})
  })

  test('G3: an Authorization without a value, and a pack for a repository that is not there', async () => {
    for (const authorization of ['Basic', 'Basic ', 'Basic =', ':', 'Basic Og=='])
      expect(await client.send('POST', push, { headers: { authorization } })).toMatchObject({ status: 401 })
    const authorization = basic(await gateway.token('deploy', 'taken'))
    const body = await aPush()
    const absent = await client.send('POST', '/absent.git/git-receive-pack', { headers: { authorization }, body })
    expect(absent.status).toBe(404)
  })

  test('G3: clients that reset at 10 random bytes of a push, 50 times over, leave nothing behind, and the next push works', async () => {
    const body = await aPush()
    for (let round = 0; round < 50; round++) {
      const offsets = Array.from({ length: 10 }, () => randomInt(body.length))
      await Promise.all(offsets.map((offset) => resetAfter(body, offset)))
      expect(await client.send('GET', '/health'), `after ${offsets}`).toMatchObject({ status: 200 })
    }
    await expect.poll(() => gateway.gitProcesses()).toEqual([])
    expect(await gateway.refs('taken')).toEqual({})

    expect((await client.send('POST', push, { headers, body })).text).toContain('ok refs/heads/main')
    expect(Object.keys(await gateway.refs('taken'))).toEqual(['refs/heads/main'])
  })

  test('G3: a clone and a push that are killed end their gits on the server', async () => {
    await using repo = await makeRepo(gateway.url('cut-off'))
    await writeFile(join(repo.path, 'random.bin'), randomBytes(20_000_000))
    await repo.commit({})
    const pushing = startGit(repo.path, ['push', 'atelier', 'main'])
    await expect.poll(() => gitsThatRun('receive-pack'), { interval: 1 }).not.toEqual([])
    pushing.kill()
    await pushing.done
    await expect.poll(() => gateway.gitProcesses()).toEqual([])

    expect(await repo.push('main')).toMatchObject({ code: 0 })
    const stuck = await stalledClone('cut-off')
    await expect.poll(() => gitsThatRun('upload-pack')).not.toEqual([])
    stuck.destroy()
    await expect.poll(() => gateway.gitProcesses()).toEqual([])
  })
})

describe('G4 no request hangs', () => {
  beforeAll(() => open({ idleTimeoutMs }))
  afterAll(close)

  test('G4: a Bearer header is answered, and so is a push of pull-request refs only', async () => {
    const refs = '/taken.git/info/refs?service=git-receive-pack'
    expect(await client.send('GET', refs, { headers: { authorization: 'Bearer x' } })).toMatchObject({ status: 401 })
    const body = pushHead('1'.repeat(40), { ref: 'refs/pull/1/head' })
    const { status, text } = await client.send('POST', push, { headers, body })
    expect({ status, text }).toMatchObject({
      status: 200,
      text: expect.stringContaining('ng refs/pull/1/head only branches and tags'),
    })
  })

  test('G4: a push that comes in single bytes is taken', async () => {
    await using repo = await makeRepo(gateway.url('drip'))
    const body = await packedPush(repo, await repo.commit({ a: '1' }))
    const answer = await client.send('POST', '/drip.git/git-receive-pack', { headers, chunks: body })
    expect(answer.text).toContain('ok refs/heads/main')
  })

  test('G4: whoever stops is cut after the limit without progress, wherever he stops, and all sockets are closed', async () => {
    await expect.poll(() => gateway.gitProcesses()).toEqual([])
    await expect.poll(openSockets).toBeLessThanOrEqual(1)
    const before = await openSockets()
    const body = await aPush()
    const length = body.length
    const head = pushHead('1'.repeat(40))
    const stopped = await Promise.all([
      rawBytes('POST /taken'),
      rawBytes(`POST ${push} HTTP/1.1\r\nHost: git.localhost\r\nAuthoriz`),
      client.begin(push, Buffer.alloc(0), { headers, length }),
      client.begin(push, head.subarray(0, 2), { headers, length }),
      client.begin(push, head.subarray(0, 30), { headers, length }),
      client.begin(push, body.subarray(0, head.length), { headers, length }),
      client.begin(push, body.subarray(0, length / 2), { headers, length }),
      client.begin(push, body.subarray(0, length - 1), { headers, length }),
      client.begin('/taken.git/git-upload-pack', Buffer.from('0011'), { headers, length: 100 }),
    ])
    expect(await openSockets()).toBeGreaterThan(before)
    const startedAt = performance.now()
    await Promise.all(stopped.map((socket) => once(socket.resume(), 'close')))
    expect(performance.now() - startedAt).toBeLessThan(20 * idleTimeoutMs)
    await expect.poll(() => gateway.gitProcesses()).toEqual([])
    await expect.poll(openSockets).toBeLessThanOrEqual(before)
  })

  test('G4: a clone whose client reads no more is cut, and its git ended', async () => {
    await using repo = await makeRepo(gateway.url('unread'))
    await repo.commit({ a: '1' })
    expect(await repo.push('main')).toMatchObject({ code: 0 })
    await writeFile(join(repo.path, 'random.bin'), randomBytes(20_000_000))
    await repo.commit({})
    expect(await repo.git('push', gateway.repository('unread'), 'main')).toMatchObject({ code: 0 })
    const socket = await stalledClone('unread')
    await expect.poll(() => gitsThatRun('upload-pack')).not.toEqual([])
    await expect.poll(() => gateway.gitProcesses(), { timeout: 20 * idleTimeoutMs }).toEqual([])
    socket.destroy()
  })
})

/** A push of one commit with a megabyte of noise, as git would send it to `taken`. */
async function aPush(): Promise<Buffer> {
  await using repo = await makeRepo(gateway.url('taken'))
  await writeFile(join(repo.path, 'random.bin'), randomBytes(1_000_000))
  return await packedPush(repo, await repo.commit({}))
}

async function packedPush(repo: Awaited<ReturnType<typeof makeRepo>>, sha: string): Promise<Buffer> {
  await writeFile(join(repo.path, 'revs'), `${sha}\n`)
  await repo.git('-c', 'alias.mk=!git pack-objects --revs --stdout < revs > pack', 'mk')
  return Buffer.concat([pushHead(sha), await readFile(join(repo.path, 'pack'))])
}

async function resetAfter(body: Buffer, bytes: number): Promise<void> {
  const socket = await client.begin(push, body.subarray(0, bytes), { headers, length: body.length })
  socket.resetAndDestroy()
}

async function rawBytes(text: string) {
  const socket = connect(gateway.port, '127.0.0.1')
  socket.on('error', () => socket.destroy())
  await new Promise<void>((resolve) => socket.write(text, () => resolve()))
  return socket
}

/** Asks for all of an app's history and reads none of it. */
async function stalledClone(app: string) {
  const { 'refs/heads/main': sha } = await gateway.refs(app)
  const asked = Buffer.concat([packet(`want ${sha} ofs-delta\n`), flushPacket, packet('done\n')])
  const socket = await client.begin(`/${app}.git/git-upload-pack`, asked, { headers, length: asked.length })
  return socket.pause()
}

async function gitsThatRun(command: string): Promise<string[]> {
  return (await gateway.gitProcesses()).filter((line) => line.includes(` ${command} `))
}

async function quarantined(app: string): Promise<string[]> {
  const names = await readdir(join(gateway.repository(app), 'objects')).catch(() => [])
  return names.filter((name) => name.startsWith('tmp_'))
}

/** Connections that the gateway holds, and its listening socket. Linux tells; elsewhere there is nothing to compare. */
async function openSockets(): Promise<number> {
  const sockets = await readFile('/proc/net/unix', 'utf8').catch(String)
  return sockets.split('\n').filter((line) => line.endsWith(` ${join(gateway.config.runDir, 'gateway.sock')}`)).length
}
