import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Deployment } from '../../../registry/deployments.ts'
import { awaitRouteSeen } from '../../../registry/edges.ts'
import { rollBack } from '../../../registry/rollback.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

const nowhere = 'postgres://atelier@localhost/atelier?host=/nonexistent'
const html = { accept: 'text/html' }
const one = 'assets/page-AAAA1111.js'
const two = 'assets/page-BBBB2222.js'

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2 })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const site = (files: Record<string, string>) => ({ kind: 'static' as const, spa_fallback: true, files })
// Several times, for each connection may come to another edge process.
const askAll = async (app: string, path: string, headers = {}) => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => edge.ask(app, path, { headers })))
  return answers
    .map(({ status, body }) => `${status} ${body}`)
    .filter((text, index, all) => all.indexOf(text) === index)
}

async function twoVersions(app: string): Promise<{ first: Deployment; second: Deployment }> {
  const first = await edge.deploy(app, site({ 'index.html': 'v1', [one]: 'chunk one', 'plain.js': 'v1' }))
  const second = await edge.deploy(app, site({ 'index.html': 'v2', [two]: 'chunk two' }))
  return { first, second }
}

test('a page of the version before finds its chunks after a flip, and after a rollback so does one of the version after', async () => {
  const { first, second } = await twoVersions('flip')
  expect(await askAll('flip', '/')).toEqual(['200 v2'])
  expect(await askAll('flip', `/${one}`)).toEqual(['200 chunk one'])
  expect(await askAll('flip', `/${two}`)).toEqual(['200 chunk two'])
  const answer = await edge.ask('flip', `/${one}`)
  expect(answer.headers).toMatchObject({
    'x-atelier-deployment': first.version,
    'cache-control': 'public, max-age=31536000, immutable',
  })
  const again = await edge.ask('flip', `/${one}`, { headers: { 'if-none-match': answer.headers.etag ?? '' } })
  expect(again.status).toBe(304)

  await rollBack(edge.sql, first, { by: 'test' })
  expect(await awaitRouteSeen(edge.sql, first.id, { timeoutMs: 60_000 })).toBe(true)
  expect(await askAll('flip', '/')).toEqual(['200 v1'])
  expect(await askAll('flip', `/${two}`)).toEqual(['200 chunk two'])
  expect((await edge.ask('flip', `/${two}`)).headers['x-atelier-deployment']).toBe(second.version)
})

test('only what is named by its content is taken from another version, and what nobody has is a 404 and no page', async () => {
  await twoVersions('strict')
  expect(await askAll('strict', '/plain.js', html)).toEqual([expect.stringMatching(/^404 /)])
  for (const path of ['/assets/page-CCCC3333.js', `/${one}/`, `/x/${one}`, '/assets/page-AAAA1111.css'])
    expect((await edge.ask('strict', path, { headers: html })).status).toBe(404)
  expect((await edge.ask('strict', `/${one}`, { method: 'POST' })).status).toBe(405)
})

test('another app, and a preview of the same, have nothing of it', async () => {
  await twoVersions('owner')
  await twoVersions('other')
  const secret = 'assets/secret-DDDD4444.js'
  await edge.deploy('owner', site({ 'index.html': 'v3', [secret]: 'secret' }))
  await edge.deploy('owner', site({ 'index.html': 'v4' }))
  await edge.deploy('owner', site({ 'index.html': 'p1' }), 'pr/1')
  await edge.deploy('owner', site({ 'index.html': 'p2' }), 'pr/1')
  expect((await edge.ask('owner', `/${secret}`)).status).toBe(200)
  expect((await edge.ask('other', `/${secret}`)).status).toBe(404)
  expect((await edge.ask('owner-pr-1', `/${secret}`)).status).toBe(404)
})

test('for an app with a server, files of earlier versions come before the app, which gets the rest', async () => {
  const app = (word: string, files: Record<string, string>) => ({
    kind: 'fetch' as const,
    files,
    server: {
      'index.js': `export default { fetch: (request) => new Response('${word} ' + new URL(request.url).pathname) }`,
    },
  })
  await edge.deploy('server', app('v1', { [one]: 'chunk one' }))
  await edge.deploy('server', app('v2', { [two]: 'chunk two' }))
  expect(await askAll('server', `/${one}`)).toEqual(['200 chunk one'])
  expect(await askAll('server', '/assets/made-EEEE5555.js')).toEqual(['200 v2 /assets/made-EEEE5555.js'])
  expect(await askAll('server', '/api')).toEqual(['200 v2 /api'])
})

test('both arms of a split have the chunks of both, whichever a request is given', async () => {
  const live = await edge.deploy('split', site({ 'index.html': 'v1', [one]: 'chunk one' }))
  const next = await edge.prepare('split', site({ 'index.html': 'v2', [two]: 'chunk two' }))
  await edge.sql`
    update routes
    set candidate_deployment = ${next.id}, weight = 50, generation = generation + 1
    where live_deployment = ${live.id}
  `
  await expect.poll(async () => new Set(await askAll('split', '/'))).toEqual(new Set(['200 v1', '200 v2']))
  for (let round = 0; round < 5; round++) {
    expect(await askAll('split', `/${one}`)).toEqual(['200 chunk one'])
    expect(await askAll('split', `/${two}`)).toEqual(['200 chunk two'])
  }
})

test('F5: with Postgres gone and the edge started again, earlier chunks are served on', async () => {
  await twoVersions('stable')
  await edge.shut()
  await edge.open(nowhere)
  expect(await askAll('stable', '/')).toEqual(['200 v2'])
  expect(await askAll('stable', `/${one}`)).toEqual(['200 chunk one'])
  await edge.shut()
  await edge.open()
})

test('an edge that comes to a machine anew learns from the registry what earlier versions had', async () => {
  await twoVersions('fresh')
  await edge.shut()
  await rm(join(edge.config.home, 'edge'), { recursive: true })
  await edge.open()
  await expect.poll(() => askAll('fresh', '/')).toEqual(['200 v2'])
  await expect.poll(() => askAll('fresh', `/${one}`)).toEqual(['200 chunk one'])
})
