import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readAppLog } from '../registry/app-logs.ts'
import { createApp } from '../registry/apps.ts'
import { setEnv } from '../registry/env-vars.ts'
import { removePreview } from '../registry/preview-removal.ts'
import { loadKey } from '../registry/secrets.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { startTestPostgres, templateName } from '../test/support/test-postgres.ts'

let database: TestDatabase
let edge: TestEdge

// What a Postgres that has stopped for good looks like.
const nowhere = 'postgres://atelier@localhost/atelier?host=/nonexistent'

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const greeting = {
  kind: 'fetch' as const,
  server: {
    'index.js': `export default { fetch: (request, env) => { console.log('asked for ' + new URL(request.url).pathname); return new Response('hello ' + env.NAME) } }`,
  },
}

test('F5: everything live is served without the registry, also after a restart of the edge', async () => {
  await createApp(edge.sql, { id: 'greeter', by: 'test' })
  const scope = { app: 'greeter', environment: 'production' as const }
  await setEnv(edge.sql, scope, { values: { NAME: 'world' }, by: 'test', key: await loadKey(edge.config) })
  const { version } = await edge.deploy('greeter', greeting)
  await edge.deploy('pages', { kind: 'static', files: { 'index.html': 'a page' } })

  await edge.shut()
  await edge.open(nowhere)
  const answer = await edge.ask('greeter', '/')
  expect(answer).toMatchObject({ status: 200, body: 'hello world', headers: { 'x-atelier-deployment': version } })
  expect(await edge.ask('pages', '/')).toMatchObject({ status: 200, body: 'a page' })
})

test('F6: Postgres stops for good while the edge runs: apps are served, and crashed ones come back', async () => {
  const postgres = await startTestPostgres()
  await using lone = await TestEdge.start(postgres.url.replace(/\/postgres\?/, `/${templateName}?`))
  const born = `const born = process.hrtime.bigint().toString()
export default { fetch: (request) => { if (request.url.endsWith('/exit')) process.exit(3); return new Response(born) } }`
  await lone.deploy('survivor', { kind: 'fetch', server: { 'index.js': born } })
  await lone.deploy('pages', { kind: 'static', files: { 'index.html': 'a page' } })
  await postgres.close()

  const before = await lone.ask('survivor', '/')
  expect(before.status).toBe(200)
  expect(await lone.ask('survivor', '/exit')).toMatchObject({ status: 502 })
  const after = await lone.ask('survivor', '/')
  expect(after.status).toBe(200)
  expect(after.body).not.toBe(before.body)
  expect(await lone.ask('pages', '/')).toMatchObject({ status: 200, body: 'a page' })
  await lone.shut()
  await lone.open()
  expect(await lone.ask('survivor', '/')).toMatchObject({ status: 200 })
})

test('a snapshot that was torn is passed over for the one before', async () => {
  await edge.shut()
  const directory = join(edge.config.home, 'edge/routes')
  const names = (await readdir(directory)).sort()
  expect(names.length).toBeGreaterThan(1)
  expect(names.length).toBeLessThanOrEqual(3)
  for (const [index, torn] of ['', '{"format":1,"routes":[{"id":"x"}]}', '{"format":2,"routes":[]}', '[]'].entries()) {
    await writeFile(join(directory, `${String(900_000_000_000 + index)}.json`), torn)
  }
  await edge.open(nowhere)
  expect(await edge.ask('pages', '/')).toMatchObject({ status: 200, body: 'a page' })
})

test('the edge takes up what it missed when the registry is there again', async () => {
  await edge.shut()
  await edge.open()
  await edge.deploy('pages', { kind: 'static', files: { 'index.html': 'a newer page' } })
  expect(await edge.ask('pages', '/')).toMatchObject({ body: 'a newer page' })
})

test('F6: lost connections to Postgres are made again, and a flip is still seen at once', async () => {
  await edge.sql`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where application_name = 'test proxy'
  `
  await edge.deploy('pages', { kind: 'static', files: { 'index.html': 'the newest page' } })
  expect(await edge.ask('pages', '/')).toMatchObject({ body: 'the newest page' })
  await expect
    .poll(() => edge.sql`select seen_at > now() - interval '3 seconds' as alive from edges where id = ${edge.edgeId}`)
    .toEqual([{ alive: true }])
})

test("an app that has no version yet, and a host that is nobody's, say so to people and machines", async () => {
  await createApp(edge.sql, { id: 'empty', by: 'test' })
  await edge.sql`insert into routes (id, app_id, environment, branch, label) values ('r-empty', 'empty', 'production', 'main', 'empty')`
  await expect.poll(async () => JSON.parse((await edge.ask('empty', '/')).body).error.code).toBe('APP_NOT_DEPLOYED')
  const page = await edge.ask('empty', '/', { headers: { accept: 'text/html' } })
  expect(page).toMatchObject({ status: 404, headers: { 'content-type': 'text/html; charset=utf-8' } })
  expect(page.body).toContain('git push atelier main')
  const unknown = await edge.ask('<script>.example'.replace(/[<>]/g, ''), '/', { headers: { accept: 'text/html' } })
  expect(unknown).toMatchObject({ status: 404 })
})

test('a preview is kept out of search engines, and is gone when it is removed', async () => {
  await edge.deploy('pages', { kind: 'static', files: { 'index.html': 'preview' } }, 'pr/42')
  const preview = await edge.ask('pages-pr-42', '/')
  expect(preview).toMatchObject({ status: 200, body: 'preview', headers: { 'x-robots-tag': 'noindex' } })
  expect((await edge.ask('pages', '/')).headers['x-robots-tag']).toBeUndefined()
  await removePreview(edge.sql, { app: 'pages', branch: 'pr/42', by: 'test' })
  await expect.poll(async () => (await edge.ask('pages-pr-42', '/')).status).toBe(404)
})

test('what an app writes is in its log', async () => {
  await edge.ask('greeter', '/a-path')
  await expect
    .poll(async () => (await readAppLog(edge.sql, 'greeter')).map(({ text }) => text))
    .toContain('asked for /a-path')
})

test('an edge that stops gives its lease back', async () => {
  const { edgeId } = edge
  await edge.shut()
  expect(await edge.sql`select id from edges where id = ${edgeId}`).toEqual([])
  await edge.open()
  expect(edge.edgeId).toBe(edgeId)
})
