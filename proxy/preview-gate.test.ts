import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import WebSocket from 'ws'
import { changePreviewSettings, gateOf } from '../registry/preview-settings.ts'
import { createDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'

const database = await createDatabase()
const edge = await TestEdge.start(database.url, { edges: 1 })
afterAll(async () => {
  await edge[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const echo = `export default { fetch: (request) => Response.json({ saw: Object.fromEntries(request.headers) }) }`
const basic = (password: string) => ({ authorization: `Basic ${Buffer.from(`any:${password}`).toString('base64')}` })
const host = 'shown-pr-1'

/** Tries a new password again and again from each of these addresses, so many at once, until it is disposed of. */
function keepTrying(addresses: string[], { atOnce }: { atOnce: number }) {
  const statuses = new Map<number, number>()
  const flood = { addresses, statuses, count: 0 }
  let isOver = false
  const tryOn = async (from: string) => {
    while (!isOver) {
      const { status } = await edge.ask(host, '/', { headers: basic(`guess ${flood.count++}`), from })
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  }
  const trying = addresses.flatMap((from) => Array.from({ length: atOnce }, () => tryOn(from)))
  const stop = async () => {
    isOver = true
    await Promise.all(trying)
  }
  return Object.assign(flood, { [Symbol.asyncDispose]: stop })
}

/** Resolves when the edge goes by the new one, which nobody has tried before. */
async function changeWord(from: string, to: string): Promise<void> {
  const page = await edge.ask(host, '/', { headers: basic(from) })
  const cookie = (page.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? ''
  expect((await edge.ask(host, '/', { headers: { cookie } })).status).toBe(200)
  await changePreviewSettings(edge.sql, 'shown', { gate: await gateOf(to) })
  await expect.poll(async () => (await edge.ask(host, '/', { headers: { cookie } })).status).toBe(401)
}

beforeAll(async () => {
  const files = { 'index.html': 'a page', 'look.css': 'p{}' }
  await edge.deploy('shown', { kind: 'fetch', files, server: { 'index.mjs': echo } })
  await edge.deploy('shown', { kind: 'fetch', files, server: { 'index.mjs': echo } }, 'pr/1')
  expect(await edge.ask(host, '/')).toMatchObject({ status: 200, body: 'a page' })
  await changePreviewSettings(edge.sql, 'shown', { gate: await gateOf('first word') })
  await vi.waitFor(async () => expect((await edge.ask(host, '/')).status).toBe(401), { timeout: 30_000 })
})

describe('a preview with a password', () => {
  test.each(['/', '/look.css', '/api/x'])('shows %s to nobody without it, and to who has it', async (path) => {
    const refused = await edge.ask(host, path, { headers: { accept: 'text/html' } })
    expect(refused).toMatchObject({ status: 401, headers: { 'x-robots-tag': 'noindex', 'cache-control': 'no-store' } })
    expect(refused.headers['www-authenticate']).toMatch(/^Basic /)
    expect((await edge.ask(host, path, { headers: basic('another word') })).status).toBe(401)
    const shown = await edge.ask(host, path, { headers: basic('first word') })
    expect(shown).toMatchObject({ status: 200, headers: { 'x-robots-tag': 'noindex' } })
    expect(shown.headers['cache-control']).toContain('private')
  })

  test('is open afterwards to the cookie that its page brings, beside any authorization of its own', async () => {
    const page = await edge.ask(host, '/', { headers: basic('first word') })
    const [cookie = ''] = page.headers['set-cookie'] ?? []
    expect(cookie).toMatch(/^atelier_preview=[^;]+; Path=\/; Max-Age=604800; HttpOnly; SameSite=Lax$/)
    const pass = cookie.split(';')[0] ?? ''
    const headers = { cookie: `own=1; ${pass}; other=2`, authorization: 'Bearer of-the-app' }
    const { saw } = JSON.parse((await edge.ask(host, '/api/me', { headers })).body)
    expect(saw).toMatchObject({ authorization: 'Bearer of-the-app', cookie: 'own=1; other=2' })
    expect((await edge.ask(host, '/', { headers: { cookie: `${pass}x` } })).status).toBe(401)
    expect((await edge.ask(host, '/', { headers: { cookie: 'atelier_preview=' } })).status).toBe(401)
  })

  test('tells the app nothing of it', async () => {
    const { saw } = JSON.parse((await edge.ask(host, '/api/me', { headers: basic('first word') })).body)
    expect(saw.authorization).toBeUndefined()
    expect(JSON.stringify(saw)).not.toContain(Buffer.from('any:first word').toString('base64'))
  })

  test('refuses WebSockets, too', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/`, { headers: { host: `${host}.apps.localhost` } })
    const status = await new Promise((resolve) => {
      socket.on('unexpected-response', (_, response) => resolve(response.statusCode))
      socket.on('error', () => resolve('error'))
    })
    expect(status).toBe(401)
  })

  test('lets others in while strangers try passwords as fast as they can, and tells those to come back', async () => {
    await using flood = keepTrying(['127.0.0.41', '127.0.0.42', '127.0.0.43'], { atOnce: 8 })
    await expect.poll(() => flood.statuses.get(401) ?? 0, { timeout: 60_000 }).toBeGreaterThan(10)
    // Each of these is a try of its own: nobody has given these before.
    for (const [index, from] of ['127.0.0.51', '127.0.0.52', '127.0.0.53'].entries()) {
      const word = `changed ${index}`
      await changeWord(index === 0 ? 'first word' : `changed ${index - 1}`, word)
      expect((await edge.ask(host, '/', { headers: basic(word), from })).status).toBe(200)
      const before = flood.count
      await expect.poll(() => flood.count).toBeGreaterThan(before)
      const other = `127.0.0.6${index}`
      expect((await edge.ask(host, '/', { headers: basic(`no word ${index}`), from: other })).status).toBe(401)
      expect(await edge.ask(host, '/', { headers: basic(word), from: other })).toMatchObject({ status: 200 })
    }
    expect([...flood.statuses.keys()].sort()).toEqual([401, 429])
    const [from = ''] = flood.addresses
    const refused = await edge.ask(host, '/', { headers: basic('one more'), from })
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } })
    // From there, too, who has the password that somebody has given already.
    expect((await edge.ask(host, '/', { headers: basic('changed 2'), from })).status).toBe(200)
    await changeWord('changed 2', 'first word')
  })

  test("keeps nobody from production, and a new password ends everybody's visit", async () => {
    expect(await edge.ask('shown', '/')).toMatchObject({ status: 200, body: 'a page' })
    const page = await edge.ask(host, '/', { headers: basic('first word') })
    const cookie = (page.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? ''
    expect((await edge.ask(host, '/', { headers: { cookie } })).status).toBe(200)
    await changePreviewSettings(edge.sql, 'shown', { gate: await gateOf('second word') })
    await expect.poll(async () => (await edge.ask(host, '/', { headers: { cookie } })).status).toBe(401)
    expect((await edge.ask(host, '/', { headers: basic('second word') })).status).toBe(200)
    await changePreviewSettings(edge.sql, 'shown', { gate: null })
    await expect.poll(async () => (await edge.ask(host, '/')).status).toBe(200)
  })
})
