import { once } from 'node:events'
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { databaseServerOf, dropAppDatabase, makeAppDatabase, readDatabaseFacts } from '../registry/database-server.ts'
import { newId } from '../registry/ids.ts'
import { connect } from '../registry/sql.ts'
import { type DatabaseAccess, DatabaseRelay, type RelayLimits, relayLimits } from '../sandbox/network/database-relay.ts'
import { writeCancel, writeStartup } from '../sandbox/network/startup-packet.ts'
import { createDatabase } from './support/database.ts'

const platform = await createDatabase()
const config = { databaseUrl: platform.url, appsDatabaseUrl: null, embedded: null }
const mine = named('of-one-app')
const other = named('of-another')
let port = 0
let otherPort = 0

beforeAll(async () => {
  for (const access of [mine, other]) await makeAppDatabase(config, access)
  port = await relayTo(mine)
  otherPort = await relayTo(other)
})
afterAll(async () => {
  for (const close of closing.splice(0)) close()
  for (const { name } of [mine, other]) await dropAppDatabase(config, { name })
  await platform[Symbol.asyncDispose]()
})

const closing: (() => void)[] = []

function named(password: string): DatabaseAccess {
  return { server: databaseServerOf(config), name: `app_${newId()}`, password }
}

async function relayTo(access: DatabaseAccess, limits: Partial<RelayLimits> = {}): Promise<number> {
  return (await openRelay(access, limits)).at
}

async function openRelay(access: DatabaseAccess, limits: Partial<RelayLimits>) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay = new DatabaseRelay(server, access, { ...relayLimits, ...limits })
  closing.push(() => relay.close())
  const count = promisify(server.getConnections.bind(server))
  return { at: (server.address() as AddressInfo).port, count }
}

function urlOf({ name, password }: DatabaseAccess, at: number, database = name): string {
  return `postgres://${name}:${password}@127.0.0.1:${at}/${database}`
}

/** Rows of a query, or the words and code of the refusal. */
async function ask(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return (await client.query(text)).rows
  } catch (thrown) {
    const code = thrown instanceof pg.DatabaseError ? thrown.code : ''
    return `${code} ${thrown instanceof Error ? thrown.message : String(thrown)}`
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** What is answered to these bytes until the connection is closed; latin1. */
async function say(at: number, ...parts: Buffer[]): Promise<string> {
  const socket = raw(at)
  for (const part of parts) socket.write(part)
  let heard = ''
  for await (const chunk of socket.setEncoding('latin1')) heard += chunk
  return heard
}

function raw(at: number): Socket {
  const socket = connectTo(at, '127.0.0.1')
  socket.on('error', () => socket.destroy())
  closing.push(() => socket.destroy())
  return socket
}

const startup = (parameters: Record<string, string>, protocol = 196_608) =>
  writeStartup(protocol, new Map(Object.entries(parameters)))

describe('I1 the database an app was given', () => {
  test('is there by its plain address, for both drivers, and what is written is read again', async () => {
    const url = urlOf(mine, port)
    expect(await ask(url, 'create table notes (text text)')).toEqual([])
    expect(await ask(url, "insert into notes values ('kept') returning text")).toEqual([{ text: 'kept' }])
    const sql = connect(url, { max: 3 })
    expect(await sql`select text from notes`).toEqual([{ text: 'kept' }])
    await sql.end()
    expect(await ask(url, 'create extension if not exists pgcrypto')).toEqual([])
    expect(await ask(url, 'select current_user, current_database()')).toEqual([
      { current_user: mine.name, current_database: mine.name },
    ])
  })

  test('asks for its password, over the relay too, and nothing else is taken for it', async () => {
    expect(await ask(urlOf({ ...mine, password: 'guessed' }, port), 'select 1')).toMatch(/^28P01 /)
    expect(await ask(urlOf({ ...mine, password: '' }, port), 'select 1')).toMatch(/password/)
    const [{ rolpassword = '' } = {}] = await admin`select rolpassword from pg_authid where rolname = ${mine.name}`
    expect(rolpassword).toMatch(/^SCRAM-SHA-256\$4096:/)
    expect(rolpassword).not.toContain(mine.password)
  })

  test('may connect to the platform’s database no more, not even past the relay', async () => {
    const direct = new URL(platform.url)
    direct.username = mine.name
    direct.password = mine.password
    const sql = connect(direct.href, { max: 1 })
    await expect(sql`select 1`).rejects.toMatchObject({ code: '42501' })
    await sql.end()
  })

  test.each(['postgres', 'template1', 'template0', 'the platform’s', 'another app’s'])(
    'leads to no other database: %s',
    async (which) => {
      const [platformName = ''] = (platform.url.match(/[^/?]+(?=\?)/) ?? []) as string[]
      const database = { 'the platform’s': platformName, 'another app’s': other.name }[which] ?? which
      expect(await ask(urlOf(mine, port, database), 'select 1')).toMatch(/^28000 this app has a database of its own/)
    },
  )

  test('takes no other role: the superuser’s, another app’s, none', async () => {
    for (const name of ['postgres', other.name, 'pg_monitor'])
      expect(await ask(urlOf({ ...other, name }, port, mine.name), 'select 1')).toMatch(/^28000 .*role of its own/)
    expect(await say(port, startup({ database: mine.name }))).toContain('28000')
    // The password of the other app is good where it belongs.
    expect(await ask(urlOf(other, otherPort), 'select 1 as one')).toEqual([{ one: 1 }])
    // And not even the server would let it into this one’s database.
    const direct = new URL(config.databaseUrl)
    direct.username = other.name
    direct.password = other.password
    direct.pathname = `/${mine.name}`
    const sql = connect(direct.href, { max: 1 })
    await expect(sql`select 1`).rejects.toMatchObject({ code: '42501' })
    await sql.end()
  })

  test.each([
    ['copy (select 1) to program $$id$$', '42501'],
    ['copy notes from program $$id$$', '42501'],
    ['copy notes from $$/etc/passwd$$', '42501'],
    ['select pg_read_file($$/etc/passwd$$)', '42501'],
    ['select pg_ls_dir($$.$$)', '42501'],
    ['select lo_import($$/etc/passwd$$)', '42501'],
    ['alter system set work_mem = $$1GB$$', '42501'],
    ['create role more', '42501'],
    ['create database more', '42501'],
    ['alter role current_user superuser', '42501'],
    ['alter role current_user connection limit -1', '42501'],
    ['set role postgres', '42501'],
    ['set session authorization postgres', '42501'],
    ['grant pg_read_server_files to current_user', '42501'],
    ['create extension dblink', '42501'],
    ['create extension file_fdw', '42501'],
    ['create language plpython3u', '(0A000|42501|58P01)'],
    ['create event trigger every on ddl_command_start execute function f()', '(42501|42883)'],
    ['create subscription s connection $$host=x$$ publication p', '42501'],
    ['select pg_terminate_backend(pid) from pg_stat_activity where usename is distinct from current_user', '42501'],
    ['select pg_reload_conf()', '42501'],
    ['select * from pg_authid', '42501'],
    ['select * from env_vars', '42P01'],
  ])('is no way to the rest of the server: %s', async (statement, code) => {
    const holder = connect(platform.url, { max: 1 })
    await holder`select 1`
    expect(await ask(urlOf(mine, port), statement)).toMatch(new RegExp(`^${code} `))
    expect(await holder`select 1 as one`).toEqual([{ one: 1 }])
    await holder.end()
  })

  test('shows nothing of what others do', async () => {
    const holder = new pg.Client({ connectionString: urlOf(other, otherPort) })
    await holder.connect()
    await holder.query("select 'a secret of the other' as said")
    const seen = JSON.stringify(await ask(urlOf(mine, port), 'select query from pg_stat_activity'))
    expect(seen).toContain('pg_stat_activity')
    expect(seen).not.toContain('a secret of the other')
    await holder.end()
  })

  test('lets as many sessions in as its role may have, and says so to one more', async () => {
    // Those of other tests leave the server a moment after their clients.
    const sessions = async () => (await readDatabaseFacts(config, [other]))[0]?.connections
    await expect.poll(sessions).toBe(0)
    const clients = Array.from({ length: 20 }, () => new pg.Client({ connectionString: urlOf(other, otherPort) }))
    for (const client of clients) client.on('error', () => undefined)
    await Promise.all(clients.map((client) => client.connect()))
    expect(await ask(urlOf(other, otherPort), 'select 1')).toMatch(/^53300 too many connections for role/)
    expect(await sessions()).toBe(20)
    await Promise.all(clients.map((client) => client.end()))
    await expect.poll(() => ask(urlOf(other, otherPort), 'select 1 as one')).toEqual([{ one: 1 }])
  })
})

describe('E5 E6 what clients send to the relay', () => {
  test('encryption is declined, and the session goes on without', async () => {
    const [ssl, gss] = [80_877_103, 80_877_104].map(request)
    const socket = raw(port)
    for (const asked of [ssl, gss]) {
      socket.write(asked ?? '')
      expect(String((await once(socket, 'data'))[0])).toBe('N')
    }
    socket.write(startup({ user: mine.name, database: mine.name }))
    // AuthenticationSASL with SCRAM-SHA-256.
    expect(String((await once(socket, 'data'))[0])).toContain('SCRAM-SHA-256')
    expect(await say(port, ...[ssl, gss, ssl].flatMap((one) => one ?? []))).toMatch(/^NNE/)
  })

  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['a TLS hello without asking', Buffer.from('16030100c8010000c40303', 'hex')],
    ['a length of nothing', Buffer.alloc(8)],
    ['a length of 2 GB', Buffer.from('7fffffff00030000', 'hex')],
    ['protocol 2', startup({ user: 'x' }, 131_072)],
    ['parameters without an end', Buffer.from('0000000d0003000075736572 00'.replace(' ', ''), 'hex')],
    ['a role named twice', Buffer.concat([twice()])],
    ['replication', startup({ user: mine.name, database: mine.name, replication: 'database' })],
    ['replication that is off', startup({ user: mine.name, database: mine.name, replication: 'false' })],
  ])('%s is refused in the words of Postgres, and reaches no server', async (_, bytes) => {
    expect(await say(port, bytes)).toMatch(/^ESFATAL?|^E/)
    const socket = raw(port)
    socket.write(bytes.subarray(0, 6))
    socket.end()
    await once(socket.resume(), 'close')
  })

  test('a packet in small parts is taken; one that never comes to its end is cut', async () => {
    const bytes = startup({ user: mine.name, database: mine.name })
    const socket = raw(port)
    for (const byte of bytes) socket.write(Buffer.from([byte]))
    expect(String((await once(socket, 'data'))[0])).toContain('SCRAM-SHA-256')

    const impatient = await relayTo(mine, { startupMs: 100, signInMs: 200 })
    expect(await say(impatient, bytes.subarray(0, 10))).toBe('')
    expect(await say(impatient, bytes)).toContain('SCRAM-SHA-256')
  })

  test('more connections than there may be are told so, before they take a place on the server', async () => {
    const access = named('of nobody')
    const tight = await relayTo(access, { connections: 2 })
    const waiting = [raw(tight), raw(tight)]
    for (const socket of waiting) {
      socket.write(startup({ user: access.name, database: access.name }))
      await once(socket, 'data')
    }
    expect(await ask(urlOf(access, tight), 'select 1')).toMatch(/^53300 too many connections/)
    for (const socket of waiting) socket.destroy()
    await expect.poll(() => ask(urlOf(access, tight), 'select 1')).toMatch(/^28P01 /)
  })

  test('an app that takes every place leaves others those of their own', async () => {
    const limits = { connections: 3, ownConnections: 2, allConnections: 0 }
    const [greedy, modest] = [named('greedy'), named('modest')]
    const tight = await relayTo(greedy, limits)
    const waiting = [raw(tight), raw(tight)]
    for (const socket of waiting) {
      socket.write(startup({ user: greedy.name, database: greedy.name }))
      await once(socket, 'data')
    }
    expect(await ask(urlOf(greedy, tight), 'select 1')).toMatch(/^53300 too many connections/)
    expect(await ask(urlOf(modest, await relayTo(modest, limits)), 'select 1')).toMatch(/^28P01 /)
  })

  test('who is refused and does not hang up is cut', async () => {
    const { at, count } = await openRelay(mine, { startupMs: 300 })
    const socket = connectTo({ port: at, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => socket.destroy())
    closing.push(() => socket.destroy())
    socket.resume().write(startup({ user: 'postgres' }))
    await once(socket, 'end')
    expect(socket.writable).toBe(true)
    await expect.poll(() => count()).toBe(0)
  })

  test('connections that say nothing take no more than so many descriptors', async () => {
    const { at, count } = await openRelay(mine, { connections: 2, startupMs: 600_000 })
    let closed = 0
    const sockets = Array.from({ length: 40 }, () => raw(at).resume())
    for (const socket of sockets) socket.once('close', () => closed++)
    await expect.poll(() => closed).toBe(32)
    expect(await count()).toBe(8)
  })

  test('a cancel request ends a query of this app, and never one of another', async () => {
    const query = async (access: DatabaseAccess, at: number) => {
      const client = new pg.Client({ connectionString: urlOf(access, at) })
      await client.connect()
      const { processID, secretKey } = client as unknown as { processID: number; secretKey: number }
      const id = Buffer.alloc(8)
      id.writeInt32BE(processID, 0)
      id.writeInt32BE(secretKey, 4)
      const ended = client.query('select pg_sleep(60)').then(
        () => 'slept',
        (thrown: unknown) => (thrown instanceof pg.DatabaseError ? thrown.code : thrown),
      )
      const isAsleep = async () =>
        (await admin`select 1 from pg_stat_activity where pid = ${processID} and state = 'active'`).length
      await expect.poll(isAsleep).toBe(1)
      return { client, cancel: writeCancel(id.toString('hex')), ended, isAsleep }
    }
    const [own, foreign] = [await query(mine, port), await query(other, otherPort)]
    expect(await say(port, foreign.cancel)).toBe('')
    expect(await say(port, own.cancel)).toBe('')
    expect(await own.ended).toBe('57014')
    expect(await foreign.isAsleep()).toBe(1)
    await say(otherPort, foreign.cancel)
    expect(await foreign.ended).toBe('57014')
    for (const { client } of [own, foreign]) await client.end()
  })

  test('a session that reads nothing of what it is sent is cut, and one that reads slowly is not', async () => {
    const tight = await relayTo(mine, { unreadMs: 1_000 })
    const ask = async () => {
      const client = new pg.Client({ connectionString: urlOf(mine, tight) })
      client.on('error', () => undefined)
      await client.connect()
      const socket = client.connection.stream
      const rows = client.query("select repeat('x', 1000) from generate_series(1, 50000)").then(
        (result) => result.rowCount,
        (thrown: unknown) => String(thrown),
      )
      return { client, socket, rows }
    }
    const stuck = await ask()
    // Its answer has begun.
    await once(stuck.socket, 'data')
    stuck.socket.pause()
    const sessions = async () =>
      (await admin`select 1 from pg_stat_activity where datname = ${mine.name} and query like '%repeat%'`).length
    await expect.poll(sessions).toBe(0)
    stuck.socket.resume()
    expect(await stuck.rows).toMatch(/terminated/)

    const slow = await ask()
    expect(await slow.rows).toBe(50_000)
    await slow.client.end()
  })

  test('a server that is away is said as Postgres says it', async () => {
    const away = await relayTo({ ...mine, server: { host: '/nowhere', port: 5432, ssl: false } })
    expect(await ask(urlOf(mine, away), 'select 1')).toMatch(/^57P03 the database server cannot be reached/)
  })
})

describe('who makes databases', () => {
  test('a role that may create databases and roles is enough, and one that may not is named with what it lacks', async () => {
    const url = new URL(inject('postgresUrl'))
    for (const [role, rights] of [
      ['maker', 'createdb createrole'],
      ['idler', 'nocreatedb'],
    ] as const) {
      await admin.unsafe(`create role ${role}_${mine.name} login ${rights} password 'pw'`)
    }
    url.password = 'pw'
    url.username = `maker_${mine.name}`
    const byMaker = { databaseUrl: url.href, appsDatabaseUrl: null, embedded: null }
    const made = named('made')
    await makeAppDatabase(byMaker, made)
    await makeAppDatabase(byMaker, { ...made, password: 'made-again' })
    const at = await relayTo(made)
    expect(await ask(urlOf({ ...made, password: 'made-again' }, at), 'select 1 as one')).toEqual([{ one: 1 }])
    const client = new pg.Client({ connectionString: urlOf({ ...made, password: 'made-again' }, at) })
    client.on('error', () => undefined)
    await client.connect()
    await dropAppDatabase(byMaker, made)
    await dropAppDatabase(byMaker, made)
    expect(await admin`select 1 from pg_database where datname = ${made.name}`).toEqual([])
    expect(await admin`select 1 from pg_roles where rolname = ${made.name}`).toEqual([])

    url.username = `idler_${mine.name}`
    const refusal = makeAppDatabase({ databaseUrl: url.href, appsDatabaseUrl: null, embedded: null }, made)
    await expect(refusal).rejects.toMatchObject({
      code: 'PROVISION_FAILED',
      message: expect.stringMatching(
        /idler_\w+ may not make databases.*createdb createrole.*ATELIER_APPS_DATABASE_URL/,
      ),
    })
    for (const role of ['maker', 'idler']) await admin.unsafe(`drop role ${role}_${mine.name}`)
  })

  test('neither an app nor its neighbour can keep its database from being dropped', async () => {
    const [gone, neighbour] = [named('gone'), named('neighbour')]
    for (const access of [gone, neighbour]) await makeAppDatabase(config, access)
    expect(await ask(urlOf(gone, await relayTo(gone)), `alter database ${gone.name} is_template true`)).toEqual([])
    const at = urlOf(neighbour, await relayTo(neighbour))
    expect(await ask(at, `grant connect on database ${neighbour.name} to ${gone.name}`)).toEqual([])
    expect(await ask(at, 'create table held (id int)')).toEqual([])
    expect(await ask(at, `grant select on held to ${gone.name}`)).toEqual([])
    await dropAppDatabase(config, gone)
    await dropAppDatabase(config, gone)
    expect(await admin`select 1 from pg_database where datname = ${gone.name}`).toEqual([])
    // What was granted to the role is the neighbour's to take back; what is left of it opens nothing.
    expect(await admin`select rolcanlogin, rolpassword from pg_authid where rolname = ${gone.name}`).toEqual([
      { rolcanlogin: false, rolpassword: null },
    ])
    await dropAppDatabase(config, neighbour)
    await dropAppDatabase(config, gone)
    expect(await admin`select 1 from pg_roles where rolname = ${gone.name}`).toEqual([])
  })

  test('a server that is down is said in one sentence', async () => {
    const down = { databaseUrl: null, appsDatabaseUrl: 'postgres://me:pw@localhost/x?host=/nowhere', embedded: null }
    await expect(makeAppDatabase(down, mine)).rejects.toMatchObject({
      code: 'PROVISION_FAILED',
      message: expect.stringMatching(/the database server cannot be reached/),
    })
  })
})

const admin = connect(inject('postgresUrl'), { max: 2, name: 'test' })
afterAll(() => admin.end())

function request(code: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32BE(8, 0)
  bytes.writeUInt32BE(code, 4)
  return bytes
}

function twice(): Buffer {
  const body = Buffer.from(`user\0${mine.name}\0user\0postgres\0\0`)
  const head = Buffer.alloc(8)
  head.writeUInt32BE(8 + body.length, 0)
  head.writeUInt32BE(196_608, 4)
  return Buffer.concat([head, body])
}
