import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { createApp, deleteApp } from './apps.ts'
import { type Actor, type Deed, listEntries, pruneAudit, recordDeed, recordDone, recordOutcome } from './audit.ts'

const database = await createDatabase()
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())

const ada: Actor = { name: 'ada', personId: 'p1', tokenId: 't1', via: 'cli', address: '192.0.2.7' }
const all = { apps: null, limit: 100 }

test('an entry says who, what, from where and what came of it', async () => {
  const deed: Deed = { action: 'POST /rollback', app: 'hello', detail: { version: '1.0.0' } }
  await recordOutcome(sql, await recordDeed(sql, ada, deed), 'VERSION_NOT_FOUND')
  expect((await listEntries(sql, all))[0]).toEqual({
    ...{ id: expect.any(Number), at: expect.any(Date), action: 'POST /rollback', appId: 'hello', target: null },
    ...{ detail: { version: '1.0.0' }, actor: 'ada', personId: 'p1', tokenId: 't1', via: 'cli' },
    ...{ address: '192.0.2.7', outcome: 'VERSION_NOT_FOUND' },
  })
})

test('what was begun and never ended stays without an outcome', async () => {
  await recordDeed(sql, ada, { action: 'POST /promote', app: 'hello' })
  expect((await listEntries(sql, all))[0]).toMatchObject({ action: 'POST /promote', outcome: null })
})

test('what no jsonb can hold is kept without it, and what nobody would read is left out', async () => {
  const detail = { name: 'a\0b', half: '\ud800', long: 'x'.repeat(1000), names: ['\0'] }
  await recordDone(sql, ada, { action: 'PUT /env', app: 'hello', detail })
  expect((await listEntries(sql, all))[0]?.detail).toEqual({
    name: 'a\ufffdb',
    half: '\ufffd',
    long: 'x'.repeat(500),
    names: ['\ufffd'],
  })
  await recordDone(sql, ada, { action: 'PUT /env', app: 'hello', detail: { names: Array(5000).fill('NAME') } })
  expect((await listEntries(sql, all))[0]?.detail).toEqual({ left_out: '35011 characters' })
})

test('nothing in it can be changed or removed, and there is no second outcome', async () => {
  await recordDone(sql, ada, { action: 'POST /lock', app: 'hello' })
  const before = await listEntries(sql, all)
  const refused = { code: '42501', message: expect.stringMatching(/is append-only$/) }
  await expect(sql`update audit_entries set actor = 'eve'`).rejects.toMatchObject(refused)
  await expect(sql`delete from audit_entries where actor = 'ada'`).rejects.toMatchObject(refused)
  await expect(sql`truncate audit_entries cascade`).rejects.toMatchObject(refused)
  await expect(sql`update audit_outcomes set outcome = 'done'`).rejects.toMatchObject(refused)
  await expect(sql`delete from audit_outcomes`).rejects.toMatchObject(refused)
  await expect(recordOutcome(sql, before[0]?.id ?? 0, 'INTERNAL')).rejects.toMatchObject({ code: '23505' })
  expect(await listEntries(sql, all)).toEqual(before)
})

describe('entries that are older than they are to be kept', () => {
  const age = async (days: number, action: Deed['action']) => {
    const id = await recordDeed(sql, ada, { action, app: 'hello' })
    await recordOutcome(sql, id, 'done')
    await sql`alter table audit_entries disable trigger user`
    await sql`update audit_entries set at = now() - make_interval(days => ${days}) where id = ${id}`
    await sql`alter table audit_entries enable trigger user`
    return id
  }
  const kept = async (ids: number[]) =>
    (await listEntries(sql, all))
      .map(({ id }) => id)
      .filter((id) => ids.includes(id))
      .sort((a, b) => a - b)
  // As those are that were written in their time.
  beforeEach(async () => {
    await sql`alter table audit_entries disable trigger user`
    await sql`alter table audit_outcomes disable trigger user`
    await sql`truncate audit_entries cascade`
    await sql`alter table audit_entries enable trigger user`
    await sql`alter table audit_outcomes enable trigger user`
  })

  test('are removed with their outcomes, and no other', async () => {
    const [old, young] = [await age(401, 'POST /lock'), await age(399, 'POST /unlock')]
    expect(await pruneAudit(sql, null)).toBe(0)
    expect(await kept([old, young])).toEqual([old, young])
    expect(await pruneAudit(sql, 400)).toBe(1)
    expect(await kept([old, young])).toEqual([young])
    expect(await sql`select entry_id from audit_outcomes where entry_id = ${old}`).toEqual([])
    expect((await listEntries(sql, all))[0]?.outcome).toBe('done')
    expect(await pruneAudit(sql, 400)).toBe(0)
  })

  test('go in as many steps as it takes', async () => {
    await sql`
      insert into audit_entries (at, action, actor, via)
      select now() - interval '500 days', 'POST /lock', 'ada', 'cli'
      from generate_series(1, 2500)
    `
    const young = await age(0, 'POST /lock')
    expect(await pruneAudit(sql, 400)).toBe(2500)
    expect((await listEntries(sql, all)).map(({ id }) => id)).toEqual([young])
  })

  test('are removed by nothing else, and nothing younger than 30 days by anything', async () => {
    const refused = { code: '42501', message: expect.stringMatching(/is append-only$/) }
    const [old, young] = [await age(1000, 'POST /lock'), await age(29, 'POST /unlock')]
    await expect(sql`delete from audit_entries where id = ${old}`).rejects.toMatchObject(refused)
    await expect(sql`delete from audit_outcomes where entry_id = ${old}`).rejects.toMatchObject(refused)
    await expect(sql`select forget_audit_entries(now(), 100)`).rejects.toMatchObject(refused)
    await expect(pruneAudit(sql, 1)).rejects.toMatchObject(refused)
    await expect(
      sql.begin(async (tx) => {
        await tx`select forget_audit_entries(now() - interval '400 days', 100)`
        await tx`delete from audit_entries where id = ${young}`
      }),
    ).rejects.toMatchObject(refused)
    await expect(
      sql.begin(async (tx) => {
        await tx`select set_config('atelier.forgets_audit_before', 'infinity', true)`
        await tx`delete from audit_outcomes where entry_id = ${young}`
      }),
    ).rejects.toMatchObject(refused)
    expect(await kept([old, young])).toEqual([old, young])
  })
})

test('entries of an app that is gone are not shown to whoever has an app of that name now', async () => {
  await createApp(sql, { id: 'again', by: 'ada' })
  await recordDone(sql, ada, { action: 'POST /lock', app: 'again', detail: { message: 'ours' } })
  await deleteApp(sql, 'again')
  await createApp(sql, { id: 'again', by: 'eve' })
  await recordDone(sql, ada, { action: 'POST /unlock', app: 'again' })
  const own = await listEntries(sql, { apps: ['again'], limit: 100 })
  expect(own.map(({ action }) => action)).toEqual(['POST /unlock'])
  expect(await listEntries(sql, { apps: [], limit: 100 })).toEqual([])
  expect((await listEntries(sql, all)).filter(({ appId }) => appId === 'again')).toHaveLength(2)
})
