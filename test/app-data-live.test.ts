import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { connectToApps } from './support/platform-database.ts'
import { atOnce } from './support/repo.ts'

// Reads and writes its database with a driver that knows nothing of Atelier.
const server = (version: string) => `
const { Pool } = require('pg')
const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 3 })
pool.on('error', () => undefined)
require('http').createServer(async (request, response) => {
  try {
    if (request.method === 'POST') await pool.query('insert into notes (text) values ($1)', [request.url.slice(1)])
    const { rows } = await pool.query('select text from notes order by id')
    response.end('${version}: ' + rows.map(({ text }) => text).join())
  } catch (error) {
    response.writeHead(request.url === '/' ? 200 : 500).end(String(error))
  }
}).listen(process.env.PORT)
`

// Keeps a file, and shows what it finds of the platform and of others; an own thread, no driver.
const keeper = (version: string) => `
const fs = require('fs'), path = require('path')
const folder = process.env.DATA_DIR
fs.appendFileSync(path.join(folder, 'starts'), 'x')
require('http').createServer((request, response) => {
  if (request.url === '/plant') {
    fs.rmSync(path.join(folder, 'out'), { force: true })
    fs.symlinkSync('/etc', path.join(folder, 'out'))
    fs.symlinkSync('../..', path.join(folder, 'up'))
  }
  if (request.method === 'POST') fs.appendFileSync(path.join(folder, 'notes.txt'), request.url.slice(1) + ',')
  const notes = fs.existsSync(path.join(folder, 'notes.txt')) ? fs.readFileSync(path.join(folder, 'notes.txt'), 'utf8') : ''
  response.end('${version} ' + folder + ': ' + notes)
}).listen(process.env.PORT)
`

const files = {
  'package.json': JSON.stringify({ dependencies: { pg: '^8' } }),
  'server.js': server('one'),
  'atelier.config.json': JSON.stringify({
    database: { provision: true, migrations: 'db' },
    deployments: { canary: 'skip' },
  }),
  'db/001_notes.sql': 'create table notes (id int generated always as identity primary key, text text not null);\n',
}

test('an app writes and reads rows of the database it was given, over a second push, a rollback and a Postgres that restarts', async ({
  atelier,
}) => {
  await atelier.createApp('notes')
  const repo = await atelier.clone('notes')
  const first = await repo.commit(files)
  const pushed = (await repo.push()).remote.join('\n')
  expect(pushed).toMatch(/-----> Database +a new one for production/)
  expect(pushed).toMatch(/db\/\*\.sql: 1 applied/)
  expect(pushed).not.toMatch(/postgres:\/\//)
  const post = (text: string) => atelier.get('notes', `/${text}`, { method: 'POST' })
  expect(await post('ada')).toMatchObject({ status: 200, body: 'one: ada' })

  await repo.commit({ 'server.js': server('two'), 'db/002_more.sql': 'alter table notes add column more text;\n' })
  const again = (await repo.push(atOnce)).remote.join('\n')
  expect(again).toMatch(/-----> Database +that of production/)
  await expect.poll(async () => (await atelier.get('notes', '/')).body).toBe('two: ada')
  expect(await post('grace')).toMatchObject({ body: 'two: ada,grace' })

  const back = await atelier.cli(['rollback', first.slice(0, 7), '--app', 'notes'])
  expect(back).toMatchObject({ code: 0, stdout: expect.stringContaining('002_more.sql') })
  await expect.poll(async () => (await atelier.get('notes', '/')).body).toBe('one: ada,grace')

  await atelier.kill('registry')
  const [before] = await postmaster(atelier.home)
  process.kill(before ?? 0, 'SIGKILL')
  await expect
    .poll(async () => (await postmaster(atelier.home))[0], { timeout: 60_000 })
    .not.toBeOneOf([before, undefined])
  const body = async () => (await atelier.get('notes', '/')).body
  await expect.poll(body, { timeout: 60_000 }).toBe('one: ada,grace')
  await expect.poll(async () => (await atelier.api('GET', 'whoami')).status, { timeout: 60_000 }).toBe(200)
})

test('each preview has a database of its own, which goes with it, and production’s goes with the app', async ({
  atelier,
}) => {
  await atelier.createApp('pages')
  const repo = await atelier.clone('pages')
  await repo.commit(files)
  await repo.push()
  await atelier.get('pages', '/ada', { method: 'POST' })
  await repo.push('HEAD:pr/7')
  expect((await atelier.get('pages-pr-7', '/')).body).toBe('one: ')
  await atelier.get('pages-pr-7', '/eve', { method: 'POST' })
  expect((await atelier.get('pages', '/')).body).toBe('one: ada')

  const shown = await atelier.cli(['db', 'pages'])
  expect(shown).toMatchObject({ code: 0 })
  expect(shown.stdout).toMatch(/production +app_\w{12} +\d+\.\d MB +\d+ of 20 .*\npr\/7 +app_\w{12} /)
  const names = async () => {
    const { stdout } = await atelier.cli(['db', 'pages', '--json'])
    const { databases }: { databases: { name: string }[] } = JSON.parse(stdout)
    return databases.map(({ name }) => name)
  }
  const [production = '', preview = ''] = await names()
  const isThere = async (name: string) => {
    const sql = await connectToApps(atelier.home)
    try {
      return (await sql`select 1 from pg_database where datname = ${name}`).length === 1
    } finally {
      await sql.end()
    }
  }
  expect(await isThere(preview)).toBe(true)
  await repo.push('--delete', 'pr/7')
  await expect.poll(() => isThere(preview), { timeout: 90_000 }).toBe(false)
  expect(await names()).toEqual([production])

  const removed = await atelier.cli(['apps', 'rm', 'pages', '--yes'])
  expect(removed.stdout).toContain(`and the database it was given (${production})`)
  await expect.poll(() => isThere(production), { timeout: 90_000 }).toBe(false)
})

test('a DATABASE_URL that was set goes before the one that would be given, and the log says so', async ({
  atelier,
}) => {
  await atelier.createApp('own')
  const url = 'postgres://me:secret-of-mine@db.example/mine'
  await atelier.cli(['env', 'set', `DATABASE_URL=${url}`, '--runtime-only', '--app', 'own'])
  const repo = await atelier.clone('own')
  await repo.commit({
    'server.js': "require('http').createServer((q, s) => s.end(process.env.DATABASE_URL)).listen(process.env.PORT)",
    'package.json': '{"scripts":{"start":"node server.js"}}',
    'atelier.config.json': JSON.stringify({ database: { provision: true } }),
  })
  const pushed = (await repo.push()).remote.join('\n')
  expect(pushed).toContain('DATABASE_URL is set and goes before database.provision')
  expect((await atelier.get('own', '/')).body).toBe(url)
  expect((await atelier.cli(['db', 'own'])).stdout).toContain('own was given no database')
})

test.for(['server', 'process'])(
  '/data of an app of kind %s stays over pushes and a rollback, and each preview has its own',
  async (kind, { atelier }) => {
    const name = `keeper-${kind}`
    await atelier.createApp(name)
    const repo = await atelier.clone(name)
    const first = await repo.commit({
      'server.js': keeper('one'),
      'package.json': '{"scripts":{"start":"node server.js"}}',
      'atelier.config.json': JSON.stringify({ data: true, build: { kind }, deployments: { canary: 'skip' } }),
    })
    const pushed = await repo.push()
    expect(pushed.remote.join('\n')).toMatch(/-----> Data +\/data stays on this machine/)
    const body = async (label = name) => (await atelier.get(label, '/')).body
    const [, place = ''] = /^one (\S+): $/.exec(await body()) ?? []
    expect(place).not.toBe('')
    await atelier.get(name, '/ada', { method: 'POST' })

    await repo.commit({ 'server.js': keeper('two') })
    await repo.push(atOnce)
    await expect.poll(() => body()).toBe(`two ${place}: ada,`)
    await atelier.cli(['rollback', first.slice(0, 7), '--app', name])
    await expect.poll(() => body()).toBe(`one ${place}: ada,`)

    await repo.push('HEAD:pr/3')
    await expect.poll(() => body(`${name}-pr-3`)).toMatch(/^two \S+: $/)
    await atelier.get(`${name}-pr-3`, '/eve', { method: 'POST' })
    expect(await body()).toBe(`one ${place}: ada,`)

    await atelier.get(name, '/plant')
    const folders = () => readdir(join(atelier.home, 'data'))
    const before = await folders()
    await repo.push('--delete', 'pr/3')
    await expect.poll(async () => (await folders()).length, { timeout: 180_000 }).toBe(before.length - 1)
    await atelier.cli(['apps', 'rm', name, '--yes'])
    await expect.poll(async () => (await folders()).length, { timeout: 180_000 }).toBe(before.length - 2)
    await atelier.createApp(name)
    await repo.push()
    expect(await body()).toMatch(/^two \S+: $/)
    expect(await readdir('/etc')).toContain('passwd')
  },
)

async function postmaster(home: string): Promise<number[]> {
  const text = await readFile(join(home, 'apps-postgres/postmaster.pid'), 'utf8').catch(() => '')
  return text ? [Number(text.split('\n')[0])] : []
}
