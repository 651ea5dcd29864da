import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect } from 'vitest'
import type { Sql } from '../registry/sql.ts'
import { type Atelier, test } from './support/atelier.ts'
import { connectToApps, connectToHome } from './support/platform-database.ts'
import { processesOf } from './support/processes.ts'

const word = () => `canary-${randomBytes(9).toString('base64url')}`
const digest = (text: string) => createHash('sha256').update(text).digest('hex')

/** An app that proves that it has its secret, without saying it. */
const files = {
  'atelier.config.json': JSON.stringify({ database: { provision: true, migrations: 'db' } }),
  'db/1.sql': 'create table app_own_table (id int);',
  'package.json': JSON.stringify({ name: 'app', scripts: { build: 'node build.js' } }),
  'build.js': `console.log('built with ' + process.env.SECRET); console.error(Buffer.from(process.env.SECRET).toString('base64'))`,
  'server.js': `
    const { createHash } = require('node:crypto')
    require('node:http').createServer((request, response) => {
      response.end(createHash('sha256').update(String(process.env.SECRET)).digest('hex'))
    }).listen(process.env.PORT)`,
  Procfile: 'web: node server.js',
}

/** An app that says its secrets wherever it can: in its build, its hooks, its log, and as it dies. */
const talking = (how: 'well' | 'badly' | 'badly on an edge') => ({
  'package.json': JSON.stringify({ name: 'app', scripts: { build: 'node say.js built' } }),
  'atelier.config.json': JSON.stringify({
    hooks: { preDeploy: 'node say.js before', postDeploy: 'node say.js after' },
  }),
  'say.js': `
    const { SECRET, KEY, LINES } = process.env
    exports.say = () => {
      console.log('it is ' + SECRET, JSON.stringify({ SECRET }), encodeURIComponent(SECRET))
      console.error(Buffer.from('me:' + SECRET).toString('base64') + ' ' + Buffer.from(SECRET).toString('hex'))
      console.log('over ' + SECRET.slice(0, 14) + '\\n' + SECRET.slice(14))
      console.log(KEY)
      console.log('a line of 1 MB ' + 'x'.repeat(1_000_000) + SECRET)
      process.stdout.write('in two pieces ' + SECRET.slice(0, 14))
      setTimeout(() => console.log(SECRET.slice(14) + '\\nsaid it all in production'), 50)
    }
    if (require.main === module) exports.say()`,
  'server.js': `
    const { say } = require('./say.js')
    const { SECRET } = process.env
    const isHere = process.cwd().includes('/edge/')
    if (${how === 'badly'} || (${how === 'badly on an edge'} && isHere)) {
      console.error('last words ' + SECRET.slice(0, 14) + '\\n' + SECRET.slice(14))
      throw new Error('nothing answers to ' + SECRET)
    }
    require('node:http').createServer((request, response) => {
      if (request.url === '/say') say()
      if (request.url === '/die') setImmediate(() => { throw new Error('died of ' + SECRET) })
      response.end('${how}')
    }).listen(process.env.PORT)`,
  Procfile: 'web: node server.js',
})

test('C7: an app that prints its secrets, in its build, its hooks, its log and as it dies, leaves them nowhere', async ({
  atelier,
}) => {
  const app = await atelier.createApp()
  const SECRET = `${word()}/+ "${randomBytes(6).toString('hex')}`
  const KEY = ['-----BEGIN KEY-----', randomBytes(36).toString('base64'), 'aQ==', '-----END KEY-----'].join('\n')
  await atelier.api('PUT', `apps/${app.name}/env`, { values: { SECRET, KEY, STAGE: 'production' } })
  await atelier.api('POST', `apps/${app.name}/webhooks`, { url: 'http://localhost:9/' })
  const shown: string[] = []
  const cli = async (...args: string[]) => {
    const { stdout, stderr } = await atelier.cli([...args, '--app', app.name])
    shown.push(stdout, stderr)
    return stdout
  }
  const repo = await atelier.clone(app)
  const push = async (how: Parameters<typeof talking>[0]) => {
    await repo.commit(talking(how))
    const said = await repo.push().then(JSON.stringify, String)
    shown.push(said)
    return said
  }

  await push('well')
  await expect.poll(async () => (await atelier.get(app, '/')).body).toBe('well')
  await atelier.get(app, '/say')
  const log = () => cli('logs', '--tail', '500')
  await expect.poll(log).toContain('said it all in production')
  await atelier.get(app, '/die')
  await expect.poll(log).toMatch(/died of \[SECRET\].*; it is started again/)
  await expect.poll(async () => (await atelier.get(app, '/')).status).toBe(200)
  const written = await log()
  expect(written).toMatch(/it is \[SECRET\] \{"SECRET":"\[SECRET\]"\} \[SECRET\]\n/)
  expect(written).toMatch(/over \[SECRET\]\n.*\[SECRET\]\n/)
  expect(written).toMatch(/(.* \[KEY\]\n){4}/)
  expect(written).toContain('in two pieces [SECRET]\n')
  expect(await push('badly')).toContain('nothing answers to [SECRET]')
  expect(await push('badly on an edge')).toContain('nothing answers to [SECRET]')

  // One's own command is one's own to read, and so is what it was given to read.
  const command = ['run', '--app', app.name, '--', 'sh', '-c', `echo "$SECRET"; cat; echo '${SECRET}'`]
  expect(await atelier.cli(command, { input: `${SECRET}\n` })).toEqual({
    ...{ code: 0, stdout: `${SECRET}\n`.repeat(3), stderr: '' },
  })
  expect(await cli('run', '--list')).toContain('[SECRET]')

  const { deployments } = JSON.parse((await atelier.api('GET', `deploys?app=${app.name}`)).body) as {
    deployments: { id: string; state: string; state_reason: string | null }[]
  }
  expect(deployments.map(({ state }) => state)).toEqual(['failed', 'failed', 'live'])
  for (const { id } of deployments)
    for (const path of ['', '/events', '/logs', '/routes'])
      shown.push((await atelier.api('GET', `deployments/${id}${path}`)).body)
  for (const path of ['', '/logs?tail=500', '/runs', '/webhooks'])
    shown.push((await atelier.api('GET', `apps/${app.name}${path}`)).body)
  await cli('status')
  await cli('deploys')
  await using sql = await atelier.platform
    .openDatabase()
    .then((sql) => Object.assign(sql, { [Symbol.asyncDispose]: () => sql.end() }))
  await expect
    .poll(async () => (await sql`select 1 from hook_runs where app_id = ${app.name} and state = 'done'`).length)
    .toBe(1)
  const dump = await readTables(sql)
  const kept = await readBelow(atelier.home, ['secrets'])
  expect(kept.some(([path, bytes]) => path.endsWith('proxy.log') && bytes.includes('died of [SECRET]'))).toBe(true)
  expect(dump.filter((row) => row.includes('said it all')).length).toBeGreaterThan(2)
  const forms = [
    ...[SECRET, encodeURIComponent(SECRET), JSON.stringify(SECRET).slice(1, -1), SECRET.slice(2, 14), SECRET.slice(14)],
    ...['hex', 'base64'].map((how) =>
      Buffer.from(SECRET)
        .toString(how as 'hex')
        .slice(4, -8),
    ),
    ...[Buffer.from(`me:${SECRET}`).toString('base64').slice(8, -8), ...KEY.split('\n').slice(1, 2)],
  ]
  for (const form of forms) {
    expect([form, shown.filter((text) => text.includes(form))]).toEqual([form, []])
    expect([form, dump.filter((row) => row.includes(form))]).toEqual([form, []])
    expect([form, kept.filter(([, bytes]) => bytes.includes(form)).map(([path]) => path)]).toEqual([form, []])
  }

  // The next version hides what it was given, which the one before did not know.
  const NEXT = word()
  await cli('env', 'set', `SECRET=${NEXT}`, '--redeploy')
  await sql`delete from app_log_lines`
  await atelier.get(app, '/say')
  await expect.poll(log).toContain('said it all in production')
  expect(shown.at(-2)).toContain('it is [SECRET]')
  expect(shown.filter((text) => text.includes(NEXT))).toEqual([])
})

describe('C7: a secret', () => {
  test('comes back from no answer, page, table, log or error', async ({ atelier }) => {
    const app = await atelier.createApp()
    const env = `apps/${app.name}/env`
    const canaries = Object.fromEntries(
      ['SECRET', 'SHORT_LIVED', 'OF_PREVIEWS', 'OF_A_BRANCH', 'ADDRESS', 'REFUSED'].map((name) => [name, word()]),
    ) as Record<'SECRET' | 'SHORT_LIVED' | 'OF_PREVIEWS' | 'OF_A_BRANCH' | 'ADDRESS' | 'REFUSED', string>
    const shown = word()
    const answers: string[] = []
    const ask = async (method: string, path: string, json?: unknown) => {
      const answer = await atelier.api(method, path, json)
      answers.push(answer.body, JSON.stringify(answer.headers))
      return answer
    }
    const { SECRET, SHORT_LIVED, OF_PREVIEWS, OF_A_BRANCH, ADDRESS, REFUSED } = canaries
    await ask('PUT', env, { values: { SECRET, SHORT_LIVED } })
    await ask('PUT', env, { values: { SECRET: OF_PREVIEWS }, environment: 'preview' })
    await ask('PUT', env, { values: { SECRET: OF_A_BRANCH }, branch: 'feature' })
    await ask('POST', 'lock', { app_id: app.name, message: `/hooks-of-${app.name}` })
    await ask('POST', 'unlock', { app_id: app.name })
    await ask('PUT', env, { values: { SHOWN: shown }, readable: true })
    const hook = await atelier.api('POST', `apps/${app.name}/webhooks`, {
      url: `http://localhost:9/${ADDRESS}?t=${ADDRESS}`,
    })
    const { id, secret } = JSON.parse(hook.body) as { id: string; secret: string }

    // What is refused is not repeated, and what goes wrong does not spell it out.
    expect((await ask('PUT', env, { values: { 'A-B': REFUSED } })).status).toBe(400)
    expect((await ask('PUT', env, { values: { A: `${REFUSED}\0` } })).status).toBe(400)
    expect((await ask('PUT', env, { values: { A: { [REFUSED]: REFUSED } } })).status).toBe(400)
    expect((await ask('PUT', env, { values: { A: REFUSED.padEnd(70_000, 'x') } })).status).toBe(413)
    expect((await ask('POST', `apps/${app.name}/webhooks`, { url: `ftp://x/${REFUSED}` })).status).toBe(400)
    expect(
      (await atelier.cli(['env', 'import', '-', '--app', app.name], { input: `A=1\n${REFUSED}\n` })).stderr,
    ).not.toContain(REFUSED)

    const repo = await atelier.clone(app)
    await repo.commit(files)
    answers.push(JSON.stringify(await repo.push()))
    await expect.poll(async () => (await atelier.get(app, '/')).body).toBe(digest(SECRET))
    await repo.git('checkout', '--quiet', '-b', 'feature')
    answers.push(JSON.stringify(await repo.git('push', 'atelier', 'feature')))
    await expect.poll(async () => (await atelier.get(`${app.name}-git-feature`, '/')).body).toBe(digest(OF_A_BRANCH))
    await repo.git('checkout', '--quiet', '-b', 'other')
    answers.push(JSON.stringify(await repo.git('push', 'atelier', 'other')))
    await expect.poll(async () => (await atelier.get(`${app.name}-git-other`, '/')).body).toBe(digest(OF_PREVIEWS))
    await expect
      .poll(async () => (await ask('GET', `apps/${app.name}/webhooks/${id}/deliveries`)).body)
      .toMatch(/is a loopback address|DNS has no such name/)

    // A table that is gone makes the API fail as it does when something is wrong with the database.
    await using sql = await atelier.platform
      .openDatabase()
      .then((sql) => Object.assign(sql, { [Symbol.asyncDispose]: () => sql.end() }))
    await sql`alter table env_vars rename to env_vars_away`
    expect((await ask('PUT', env, { values: { SECRET: REFUSED } })).status).toBe(500)
    await sql`alter table env_vars_away rename to env_vars`
    const { deployments } = JSON.parse((await ask('GET', `deploys?app=${app.name}`)).body) as {
      deployments: { id: string }[]
    }
    for (const one of deployments)
      for (const path of ['', '/events', '/logs']) await ask('GET', `deployments/${one.id}${path}`)
    for (const path of [
      '',
      '/env',
      '/env?environment=preview',
      '/env?branch=feature',
      '/logs?tail=500',
      '/databases',
      '/webhooks',
    ])
      await ask('GET', `apps/${app.name}${path}`)
    answers.push((await atelier.cli(['env', '--app', app.name])).stdout)

    const dump = await readTables(sql)
    expect(dump.join('\n')).toContain(app.name)
    // What is still in memory lies in the files of both servers then, as a backup of the disk would have it.
    const apps = await connectToApps(atelier.home)
    const platform = await connectToHome(atelier.home, 'postgres')
    for (const server of [apps, platform]) {
      await server`checkpoint`
      await server.end()
    }
    const kept = await readBelow(atelier.home, ['secrets'])
    // What is no secret is found there: in the tables' files, in the log before them, and on the server of the apps.
    const where = (text: string) =>
      kept.filter(([, bytes]) => bytes.includes(text)).map(([path]) => path.slice(atelier.home.length + 1))
    expect(where(`/hooks-of-${app.name}`)).toContainEqual(expect.stringMatching(/^postgres\/base\//))
    expect(where(`/hooks-of-${app.name}`)).toContainEqual(expect.stringMatching(/^postgres\/pg_wal\//))
    expect(where('app_own_table')).toContainEqual(expect.stringMatching(/^apps-postgres\/base\//))

    // The readable one is where it may be seen, so looking finds what is there.
    expect(answers.join('\n')).toContain(shown)
    expect(answers.join('\n')).toContain('[SECRET]')
    expect(kept.some(([path]) => path.endsWith('registry.log'))).toBe(true)
    for (const [name, canary] of [...Object.entries({ ...canaries, secret }), ['shown', shown] as const]) {
      const forms = [canary, Buffer.from(canary).toString('base64').slice(0, -3), Buffer.from(canary).toString('hex')]
      for (const form of forms) {
        if (name !== 'shown') expect([name, answers.filter((text) => text.includes(form))]).toEqual([name, []])
        expect([name, dump.filter((text) => text.includes(form))]).toEqual([name, []])
        expect([name, kept.filter(([, bytes]) => bytes.includes(form)).map(([path]) => path)]).toEqual([name, []])
      }
    }
  })

  test('stays what it is for apps that run, sleep or are deployed while the key is replaced', async ({ atelier }) => {
    const app = await atelier.createApp()
    const SECRET = word()
    await atelier.api('PUT', `apps/${app.name}/env`, { values: { SECRET } })
    const repo = await atelier.clone(app)
    await repo.commit(files)
    await repo.push()
    await expect.poll(async () => (await atelier.get(app, '/')).body).toBe(digest(SECRET))
    await using traffic = atelier.keepRequesting(app, '/')
    const rotated = await atelier.cli(['keys', 'rotate'])
    expect(rotated).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Sealed \d+ values again, by the new key/),
    })
    const listed = await atelier.api('GET', `apps/${app.name}/env`)
    expect(JSON.parse(listed.body)).toMatchObject({ variables: [{ name: 'SECRET' }], stale: [] })
    const redeployed = await atelier.cli(['redeploy', '--app', app.name])
    expect(redeployed.code).toBe(0)
    const NEXT = word()
    expect((await atelier.cli(['env', 'set', `SECRET=${NEXT}`, '--redeploy', '--app', app.name])).code).toBe(0)
    await expect.poll(async () => (await atelier.get(app, '/')).body).toBe(digest(NEXT))
    expect(await atelier.cli(['keys', 'forget'])).toMatchObject({ code: 0, stdout: 'Removed one key\n' })
    expect(traffic.failures).toEqual([])
    await restartApps(atelier)
    await expect.poll(async () => (await atelier.get(app, '/')).body).toBe(digest(NEXT))
  })
})

/** Every row there is, as text. */
async function readTables(sql: Sql): Promise<string[]> {
  const tables = await sql<{ name: string }[]>`
    select quote_ident(table_name) as name
    from information_schema.tables
    where table_schema = 'public'
      and table_type = 'BASE TABLE'
  `
  const dump: string[] = []
  for (const { name } of tables)
    for (const { row } of await sql.unsafe<{ row: string }[]>(`select t::text as row from ${name} t`)) dump.push(row)
  return dump
}

async function restartApps(atelier: Atelier): Promise<void> {
  const killed = await atelier.kill('proxy')
  await expect.poll(() => atelier.platform.pidOf('proxy')).not.toBeOneOf([null, killed])
  expect(processesOf(atelier.home)).not.toContainEqual(expect.objectContaining({ pid: killed }))
}

async function readBelow(directory: string, except: string[]): Promise<[path: string, bytes: Buffer][]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const wanted = paths.filter((path) => !except.some((name) => path.startsWith(join(directory, name, '/'))))
  const read = await Promise.all(wanted.map(async (path) => [path, await readFile(path).catch(() => null)] as const))
  return read.flatMap(([path, bytes]) => (bytes ? [[path, bytes]] : []))
}
