import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test as plainTest } from 'vitest'
import { claimAppDatabase } from '../registry/app-databases.ts'
import { readConfig } from '../registry/config.ts'
import { loadKey } from '../registry/secrets.ts'
import { Atelier, test } from './support/atelier.ts'
import { connectToApps } from './support/platform-database.ts'
import { atOnce } from './support/repo.ts'

// Keeps a session of its own with every lock it can get.
const server = `
const { Pool, Client } = require('pg')
const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 3 })
pool.on('error', () => undefined)
require('http').createServer(async (request, response) => {
  try {
    if (request.url === '/grab') {
      const client = new Client({ connectionString: process.env.DATABASE_URL })
      client.on('error', () => undefined)
      await client.connect()
      await client.query('select pg_advisory_lock(g) from generate_series(1, 1000000) g')
    }
    if (request.method === 'POST') await pool.query('insert into notes (text) values ($1)', [request.url.slice(1)])
    const { rows } = await pool.query('select text from notes order by text')
    response.end(rows.map(({ text }) => text).join())
  } catch (error) {
    response.end('failed: ' + error.message)
  }
}).listen(process.env.PORT)
`
const files = {
  'package.json': JSON.stringify({ dependencies: { pg: '^8' } }),
  'server.js': server,
  'atelier.config.json': JSON.stringify({
    database: { provision: true, migrations: 'db' },
    deployments: { canary: 'skip' },
  }),
  'db/001_notes.sql': 'create table notes (text text not null);\n',
}

test('I1: what an app does to the server of its database, the platform does not feel', async ({ atelier }) => {
  expect(existsSync(join(atelier.home, 'apps-postgres'))).toBe(false)
  const greedy = await atelier.clone(await atelier.createApp('greedy'))
  await greedy.commit(files)
  await greedy.push()
  expect((await atelier.get('greedy', '/ada', { method: 'POST' })).body).toBe('ada')
  const quiet = await atelier.clone(await atelier.createApp('quiet'))
  await quiet.commit({ 'index.html': 'one' })
  await quiet.push(atOnce)

  expect((await atelier.get('greedy', '/grab')).body).toMatch(/^failed: out of shared memory/)
  expect(await refusalOf(connectToApps(atelier.home))).toMatch(/out of shared memory/)
  await quiet.commit({ 'index.html': 'two' })
  await quiet.push(atOnce)
  expect((await atelier.get('quiet', '/')).body).toBe('two')
  expect(await atelier.api('GET', 'apps')).toMatchObject({ status: 200 })
})

test('when the Postgres of the apps is killed it comes back, and so do their connections', async ({ atelier }) => {
  const [own, apps] = await Promise.all(['postgres', 'apps-postgres'].map((name) => postmaster(atelier.home, name)))
  process.kill(apps ?? 0, 'SIGKILL')
  await expect
    .poll(() => postmaster(atelier.home, 'apps-postgres'), { timeout: 60_000 })
    .not.toBeOneOf([apps, undefined])
  await expect.poll(async () => (await atelier.get('greedy', '/')).body, { timeout: 60_000 }).toBe('ada')
  expect(await postmaster(atelier.home, 'postgres')).toBe(own)
  expect(atelier.platform.stderr).toContain('Postgres of the apps ended unexpectedly and is started again')
})

test('the doctor says how it is', async ({ atelier }) => {
  const look = async () => {
    const { stdout } = await atelier.cli(['doctor', '--json'], { env: { ATELIER_HTTP_PORT: String(atelier.port) } })
    const { checks }: { checks: { name: string; state: string; what: string }[] } = JSON.parse(stdout)
    return checks.find(({ name }) => name === 'apps postgres')
  }
  const well = await look()
  expect(well).toMatchObject({ state: 'ok', what: expect.stringMatching(/^version \d+, \d+ MB on disk, /) })
  expect(well?.what).toMatch(/ [1-9]\d* of 400 connections taken$/)
  const [, megabytes] = /(\d+) MB/.exec(well?.what ?? '') ?? []
  expect(Number(megabytes)).toBeGreaterThan(6)
})

plainTest('it runs again with the platform, and lies still when no app has a database any more', async () => {
  await using atelier = await Atelier.start()
  const repo = await atelier.clone(await atelier.createApp('notes'))
  await repo.commit(files)
  await repo.push()
  await atelier.get('notes', '/ada', { method: 'POST' })
  await atelier.platform.stop()
  expect(await postmaster(atelier.home, 'apps-postgres')).toBeUndefined()
  await atelier.platform.start()
  await expect.poll(async () => (await atelier.get('notes', '/')).body, { timeout: 60_000 }).toBe('ada')

  await atelier.cli(['apps', 'rm', 'notes', '--yes'])
  const sql = await atelier.platform.openDatabase()
  const left = async () => (await sql`select name from app_databases`).length
  await expect.poll(left, { timeout: 90_000 }).toBe(0)
  await sql.end()
  await atelier.platform.stop()
  await atelier.platform.start()
  await expect.poll(() => postmaster(atelier.home, 'apps-postgres')).toBeUndefined()
})

plainTest('a database that was made before there was a server for apps stays where it is', async () => {
  await using atelier = await Atelier.start()
  const repo = await atelier.clone(await atelier.createApp('elder'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push(atOnce)
  const sql = await atelier.platform.openDatabase()
  const [route] = await sql<{ id: string; branch: string }[]>`select id, branch from routes where app_id = 'elder'`
  const key = await loadKey(readConfig({ ATELIER_HOME: atelier.home }))
  const at = {
    appId: 'elder',
    environment: 'production' as const,
    branch: route?.branch ?? '',
    routeId: route?.id ?? '',
  }
  const { name } = await claimAppDatabase(sql, at, { key, embedded: false })

  await repo.git('rm', '--quiet', 'index.html')
  await repo.commit(files)
  await repo.push(atOnce)
  expect((await atelier.get('elder', '/ada', { method: 'POST' })).body).toBe('ada')
  const isHere = async () => (await sql`select 1 from pg_database where datname = ${name}`).length
  expect(await isHere()).toBe(1)
  expect((await atelier.cli(['db', 'elder'])).stdout).toMatch(new RegExp(`production +${name} +\\d+\\.\\d MB`))
  expect(existsSync(join(atelier.home, 'apps-postgres'))).toBe(false)

  await atelier.platform.stop()
  await atelier.platform.start()
  await expect.poll(async () => (await atelier.get('elder', '/')).body, { timeout: 60_000 }).toBe('ada')
  await atelier.cli(['apps', 'rm', 'elder', '--yes'])
  await sql.end()
  const again = await atelier.platform.openDatabase()
  const there = async () => (await again`select 1 from pg_database where datname = ${name}`).length
  await expect.poll(there, { timeout: 90_000 }).toBe(0)
  await again.end()
})

async function refusalOf(connecting: ReturnType<typeof connectToApps>): Promise<string> {
  const sql = await connecting
  try {
    await sql`select 1`
    return ''
  } catch (thrown) {
    return String(thrown)
  } finally {
    await sql.end()
  }
}

async function postmaster(home: string, folder: string): Promise<number | undefined> {
  const text = await readFile(join(home, folder, 'postmaster.pid'), 'utf8').catch(() => '')
  return text ? Number(text.split('\n')[0]) : undefined
}
