import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { hostileServer } from '../../test/support/hostile-apps.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { limits: { headTimeoutMs: 1_000, idleTimeoutMs: 1_000 } })
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': hostileServer } })
  await edge.deploy('process', { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': hostileServer } })
  await edge.deploy('good', { kind: 'static', files: { 'index.html': 'fine' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

describe.each(['server', 'process'])('an app of kind %s', (kind) => {
  const get = async (path: string) => {
    const socket = await edge.socket()
    socket.on('error', () => undefined)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${kind}.apps.localhost\r\nConnection: close\r\n\r\n`)
    return (await buffer(socket).catch((error: Error) => Buffer.from(`cut: ${error.message}`))).toString('latin1')
  }

  test('the app answers when it behaves', async () => {
    expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*ok$/)
  })

  test.each([
    '/099',
    '/000',
    '/600',
    '/9999',
    '/reason',
    '/reason-nul',
    '/header-control',
    '/header-name',
    '/header-fold',
    '/both',
    '/both-other',
    '/lengths',
    '/coding',
    '/switch',
    '/switch-bare',
    '/garbage',
    '/huge-head',
    '/nothing',
  ])('I4: a response like %s costs its own request alone: 502', async (path) => {
    const neighbour = edge.ask('good', '/')
    const answer = await get(path)
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway/)
    expect(answer).not.toContain('BO')
    expect(await neighbour).toMatchObject({ status: 200, body: 'fine' })
    expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK/)
  })

  test.each(['/interim', '/interim-huge'])('I4: interim responses without end like %s end in a 502', async (path) => {
    const answer = await get(path)
    expect(answer).toMatch(/HTTP\/1\.1 502 Bad Gateway/)
    expect(answer.match(/HTTP\/1\.1 10[23]/g)?.length).toBeLessThanOrEqual(16)
    expect(answer.length).toBeLessThan(80_000)
    expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK/)
  })

  test.each(['/cut', '/cut-chunk', '/bad-chunk', '/stays-open', '/trailers-huge', '/trailer-control'])(
    'I4: a body like %s ends in a closed connection, not in a response that looks whole',
    async (path) => {
      const answer = await get(path)
      expect(answer).not.toMatch(/0\r\n\r\n$/)
      expect(answer).not.toMatch(/BO.{18}$/)
      expect(await get('/')).toMatch(/^HTTP\/1\.1 200 OK/)
    },
  )

  test('I4: an answer that never comes is a 504 for its own request', async () => {
    const socket = await edge.socket()
    socket.write(`GET /never HTTP/1.1\r\nHost: ${kind}.apps.localhost\r\n\r\n`)
    const answered = once(socket, 'data')
    expect(await edge.ask('good', '/')).toMatchObject({ status: 200 })
    expect(String((await answered)[0])).toMatch(/^HTTP\/1\.1 504 Gateway Timeout/)
    socket.destroy()
  })

  test('I4: a second response nobody asked for is given to nobody', async () => {
    for (let round = 0; round < 5; round++) {
      expect(await get('/two')).toMatch(/ok$/)
      expect(await get('/')).toMatch(/ok$/)
    }
  })

  test.each(['/no-body-204', '/no-body-304', '/trailers-forged'])(
    'I4: an answer like %s is passed on in the one way it can be read',
    async (path) => {
      for (let round = 0; round < 5; round++) {
        const answer = await get(path)
        expect(answer).toMatch(/^HTTP\/1\.1 [23]0[04] /)
        expect(answer).not.toMatch(/smuggled|own=1/)
        expect(await get('/')).toMatch(/ok$/)
      }
    },
  )
})
