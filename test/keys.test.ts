import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { claimAppDatabase, openDatabasePassword } from '../registry/app-databases.ts'
import { createApp } from '../registry/apps.ts'
import { createDeployment, type Deployment, findDeployment } from '../registry/deployments.ts'
import { listEnv, openEnvSnapshot, setEnv } from '../registry/env-vars.ts'
import { keepOrigin, openToken } from '../registry/git-origins.ts'
import { KeyRing } from '../registry/key-ring.ts'
import { countSealed, sealAllAgain } from '../registry/key-rotation.ts'
import { findLinkOfApp, linkRepo, openHookSecret, openHostToken } from '../registry/repo-links.ts'
import { sealedTables } from '../registry/sealed-values.ts'
import { keyPath, loadKey, open, seal } from '../registry/secrets.ts'
import { findStaleEnv } from '../registry/stale-env.ts'
import { createWebhook, openWebhook, rotateSecret, type SealedWebhook } from '../registry/webhooks/webhooks.ts'
import { run } from './support/command.ts'
import { createDatabase, type TestDatabase } from './support/database.ts'
import { checkout, plainEnv } from './support/platform.ts'

let database: TestDatabase
let home: string
let key: KeyRing

beforeEach(async () => {
  database = await createDatabase()
  home = await mkdtemp(join(tmpdir(), 'atelier-keys-'))
  key = await loadKey({ home, key: null })
})
afterEach(async () => {
  await database[Symbol.asyncDispose]()
  await rm(home, { recursive: true, force: true })
})

const program = join(checkout, 'cli/atelier.mjs')
const env = () => ({ ...plainEnv(), ATELIER_HOME: home, ATELIER_DATABASE_URL: database.url })
const atelier = (args: string[]) => run(process.execPath, [program, ...args], { cwd: home, env: env() })

const target = { environment: 'preview', branch: 'pr/1', label: 'hello-pr-1' } as const

/** Something sealed in every place there is, and how it opens. */
async function sealSomewhere(with_: KeyRing | Buffer): Promise<(by: KeyRing | Buffer) => Promise<unknown>> {
  const { sql } = database
  await createApp(sql, { id: 'hello', by: 'ada' })
  const scope = { app: 'hello', environment: 'preview' } as const
  const set = { by: 'ada', key: with_, isReadable: true }
  await setEnv(sql, scope, { values: { A: 'canary-a', B: 'canary-b' }, ...set })
  await setEnv(sql, { ...scope, branch: 'pr/1' }, { values: { B: 'canary-own' }, ...set })
  const { id } = await createDeployment(sql, {
    app: 'hello',
    target,
    version: '1.0.0',
    source: 'upload',
    by: 'ada',
    sourceKey: null,
  })
  const gitOrigin = keepOrigin(
    { url: 'https://git.example/x.git', ref: 'main', sha: null },
    { app: 'hello', token: 'canary-token', key: with_ },
  )
  await sql`update deployments set git_origin = ${sql.json(gitOrigin)} where id = ${id}`
  const claimed = await findDeployment(sql, id)
  const { name } = await claimAppDatabase(sql, claimed as Deployment, { key: with_, embedded: false })
  const ring = KeyRing.of(with_)
  const wanted = { appId: 'hello', name: 'ci', format: 'json', events: ['*'], environment: null } as const
  const { webhook } = await createWebhook(
    sql,
    { ...wanted, events: ['*'], address: 'https://canary.example/', by: 'ada' },
    ring,
  )
  await rotateSecret(sql, webhook.id, ring)
  await sql`
    insert into app_runs (id, app_id, deployment_id, by, shown, command, takes_input, timeout_sec)
    values ('r1', 'hello', ${id}, 'ada', 'x', ${seal(with_, 'run:r1', 'canary-run')}, false, 1)
  `
  const repo = {
    appId: 'hello',
    host: 'gitea',
    url: 'https://git.example/x',
    apiUrl: 'https://git.example/api',
  } as const
  const link = {
    ...repo,
    fullName: 'a/x',
    forks: 'off',
    secret: 'canary-hook',
    token: 'canary-host',
    by: 'ada',
  } as const
  await linkRepo(sql, link, with_)
  await sql`
    insert into repeats (caller, key, request_sha256, answer)
    values ('t1', 'k1', '', ${seal(with_, 'answer to t1 k1', 'canary-answer')})
  `
  return async (by) => {
    const [repeat] = await sql<{ answer: Buffer }[]>`select answer from repeats`
    const deployment = await findDeployment(sql, id)
    const [{ password } = { password: Buffer.alloc(0) }] = await sql<{ password: Buffer }[]>`
      select password from app_databases where name = ${name}
    `
    const [hook] = await sql<SealedWebhook[]>`select id, address, secret, former_secret, former_until from webhooks`
    const [command] = await sql<{ command: Buffer }[]>`select command from app_runs`
    const [origin] = await sql<{ gitOrigin: typeof gitOrigin }[]>`select git_origin from deployments where id = ${id}`
    const linked = await findLinkOfApp(sql, 'hello')
    return [
      linked && [openHookSecret(linked, by), openHostToken(linked, by)],
      (await listEnv(sql, { ...scope, branch: 'pr/1' }, by)).map(({ value }) => value),
      openEnvSnapshot(deployment?.envSnapshot ?? {}, { scope, key: by, purpose: 'run' }),
      openDatabasePassword({ name, password: password.toString('base64') }, by),
      hook && openWebhook(hook, by),
      command && open(by, 'run:r1', command.command),
      repeat && open(by, 'answer to t1 k1', repeat.answer),
      origin && openToken(origin.gitOrigin, { app: 'hello', key: by }),
    ]
  }
}

describe('a key that is replaced', () => {
  test('has everything sealed again by the new one, which opens it alone', async () => {
    const old = new KeyRing(key.all().map(({ bytes }) => bytes))
    const opened = await sealSomewhere(old)
    const before = await opened(old)
    expect(JSON.stringify(before).match(/canary/g)?.length).toBeGreaterThan(6)
    const [oldBytes = Buffer.alloc(0), next] = [old.current().bytes, randomBytes(32)]
    await expect(opened(next)).rejects.toThrow('does not open')
    expect(await sealAllAgain(database.sql, new KeyRing([next, oldBytes]))).toBe(14)
    expect(await opened(next)).toEqual(before)
    await expect(opened(oldBytes)).rejects.toThrow('does not open')
    expect(await sealAllAgain(database.sql, new KeyRing([next, oldBytes]))).toBe(0)
  })

  test('leaves what is equal equal: nothing needs a redeploy because of it', async () => {
    await sealSomewhere(key)
    const { sql } = database
    const [deployment] = await sql<Deployment[]>`select * from deployments`
    await sql`update deployments set state = 'building'`
    await sql`alter table deployments disable trigger user`
    await sql`update deployments set state = 'live'`
    await sql`update routes set live_deployment = ${deployment?.id ?? ''}`
    await sealAllAgain(sql, new KeyRing([randomBytes(32), key.current().bytes]))
    const [row] = await sql<{ same: boolean }[]>`
      select d.env_snapshot -> 'A' ->> 'value' = encode(v.value, 'base64') as same
      from deployments d, env_vars v
      where v.name = 'A'
    `
    expect(row?.same).toBe(true)
    // Compared without opening: a key that opens nothing would throw.
    expect(await findStaleEnv(sql, { app: 'hello', environment: 'preview' }, randomBytes(32))).toEqual([])
  })

  test('that is killed in the middle leaves everything open, and goes on when it is done again', async () => {
    const { sql } = database
    const opened = await sealSomewhere(key)
    const scope = { app: 'hello', environment: 'production' } as const
    const many = Object.fromEntries(Array.from({ length: 150 }, (_, at) => [`V${at}`, `canary-${at}`]))
    await setEnv(sql, scope, { values: many, by: 'ada', key })
    for (let number = 0; number < 12; number += 1)
      await createDeployment(sql, {
        app: 'hello',
        target: { environment: 'production', branch: 'main', label: 'hello' },
        version: `2.0.${number}`,
        source: 'upload',
        by: 'ada',
        sourceKey: null,
      })
    const before = await opened(key)
    // Somebody who holds a row stops it where it is.
    const holding = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    const holder = sql.begin(async (tx) => {
      await tx`select from webhooks for update`
      held.resolve()
      await holding.promise
    })
    await held.promise
    const child = spawn(process.execPath, [program, 'keys', 'rotate', '--one-machine'], { cwd: home, env: env() })
    let said = ''
    child.stderr.on('data', (chunk) => {
      said += chunk
    })
    await expect.poll(() => said, { timeout: 30_000 }).toContain('values sealed again')
    await expect
      .poll(async () => (await sql`select from pg_locks where not granted`).length, { timeout: 30_000 })
      .toBeGreaterThan(0)
    child.kill('SIGKILL')
    await once(child, 'close')
    holding.resolve()
    await holder
    const listed = JSON.parse((await atelier(['keys', '--json'])).stdout).keys as { seals: boolean; values: number }[]
    expect(listed).toHaveLength(2)
    expect(listed.every(({ values }) => values > 0)).toBe(true)
    // The key this test has held since before: it takes up the new one by itself, to open and to seal.
    expect(await opened(key)).toEqual(before)
    expect(seal(key, 'x', 'y').subarray(0, 8)).toEqual((await loadKey({ home, key: null })).current().id)
    expect(await atelier(['keys', 'forget'])).toMatchObject({ code: 1 })

    const again = await atelier(['keys', 'rotate', '--one-machine'])
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('by the key that was on its way') })
    const [one, two] = JSON.parse((await atelier(['keys', '--json'])).stdout).keys
    expect([one.seals, two.seals, two.values]).toEqual([true, false, 0])
    expect(await atelier(['keys', 'forget'])).toMatchObject({ code: 0, stdout: 'Removed one key\n' })
    const alone = await loadKey({ home, key: null })
    expect(alone.all()).toHaveLength(1)
    expect(await opened(alone)).toEqual(before)
    expect((await stat(keyPath(home))).mode & 0o777).toBe(0o600)
  })

  test('of several machines is replaced by hand, step by step, and nothing is changed before', async () => {
    await sealSomewhere(key)
    const kept = await readFile(keyPath(home), 'utf8')
    const refused = await atelier(['keys', 'rotate'])
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('for every part, and restart them') })
    expect(await readFile(keyPath(home), 'utf8')).toBe(kept)
    await writeFile(keyPath(home), `${kept}${randomBytes(32).toString('base64')}\n`)
    expect(await loadKey({ home, key: null })).toMatchObject({})
    const second = randomBytes(32).toString('base64')
    await writeFile(keyPath(home), `${second}\n${kept}`)
    expect(await atelier(['keys', 'rotate'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Sealed 14 values'),
    })
  })
})

test.for(['list', 'rotate', 'forget'])(
  'keys %s says in a sentence that the platform or its database is away, and changes nothing',
  async (name) => {
    const kept = await readFile(keyPath(home), 'utf8')
    const ask = (more: NodeJS.ProcessEnv) =>
      run(process.execPath, [program, 'keys', name, '--json'], {
        cwd: home,
        env: { ...plainEnv(), ATELIER_HOME: home, ...more },
      })
    expect(await ask({})).toMatchObject({
      code: 3,
      stderr: `atelier: the platform in ${home} does not run, and its database with it; start it with: atelier up\n`,
      stdout: expect.stringContaining('DATABASE_UNAVAILABLE'),
    })
    const away = await ask({ ATELIER_DATABASE_URL: 'postgres://ada:secret@127.0.0.1:1/x' })
    expect(away).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^atelier: the database that ATELIER_DATABASE_URL names .*\n$/),
    })
    expect(away.stderr).not.toContain('secret')
    expect(await readFile(keyPath(home), 'utf8')).toBe(kept)
  },
)

test('what was sealed before keys had names opens, and is named when it is sealed again', async () => {
  const bytes = key.current().bytes
  const unnamed = seal(bytes, 'x', 'elder').subarray(8)
  expect(open(key, 'x', unnamed)).toBe('elder')
  expect(open(new KeyRing([randomBytes(32), bytes]), 'x', unnamed)).toBe('elder')
  expect(() => open(new KeyRing([randomBytes(32)]), 'x', unnamed)).toThrow('does not open')
})

test('tables are gone through by their primary keys, which an index has in order, and no row is missed or met twice', async () => {
  const { sql } = database
  const keys = await sql<{ table: string; columns: string[] }[]>`
    select c.relname as table, json_agg(a.attname order by k.at) as columns
    from pg_index i
    join pg_class c on c.oid = i.indrelid
    cross join unnest(i.indkey) with ordinality as k (column_number, at)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.column_number
    where i.indisprimary
    group by c.relname
  `
  for (const { table, key } of sealedTables)
    expect([table, keys.find((one) => one.table === table)?.columns]).toEqual([table, key])

  // In the order of one text of all columns these would lie between each other.
  const values = Object.fromEntries(Array.from({ length: 90 }, (_, at) => [`V${at}_${'x'.repeat(at % 7)}`, 'canary']))
  for (const app of ['a', 'a-b', 'a0', 'b']) {
    await createApp(sql, { id: app, by: 'ada' })
    await setEnv(sql, { app, environment: 'preview' }, { values, by: 'ada', key })
    await setEnv(sql, { app, environment: 'preview', branch: 'pr/1' }, { values, by: 'ada', key })
  }
  const next = new KeyRing([randomBytes(32), key.current().bytes])
  expect(await sealAllAgain(sql, next)).toBe(4 * 2 * 90)
  expect([...(await countSealed(sql, next))]).toEqual([[next.current().id.toString('hex'), 4 * 2 * 90]])
})

test('every column of bytes is either in the list of what is sealed, or known to hold something else', async () => {
  const others = [
    ...['tokens.secret_sha256', 'console_sessions.secret_sha256', 'console_sessions.token_secret_sha256'],
    ...['console_codes.code_sha256', 'rollout_bad_units.unit', 'app_run_chunks.data'],
  ]
  const columns = await database.sql<{ name: string }[]>`
    select table_name || '.' || column_name as name
    from information_schema.columns
    where table_schema = 'public'
      and data_type = 'bytea'
  `
  const listed = sealedTables.flatMap(({ table, columns }) => columns.map((column) => `${table}.${column}`))
  const unknown = columns.map(({ name }) => name).filter((name) => !listed.includes(name) && !name.endsWith('_sha256'))
  expect(unknown.filter((name) => !others.includes(name))).toEqual([])
})
