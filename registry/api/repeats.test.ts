import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { create } from 'tar'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Ask, eventsOf, finishDeployment, startControlPlane } from '../../test/support/control-plane.ts'
import { pruneRepeats } from '../repeats.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
let key: string
beforeAll(async () => {
  token = await plane.token('admin')
})
beforeEach(async () => {
  app = await plane.app()
  key = randomUUID()
})

const ask = (method: string, path: string, how: Ask = {}) =>
  plane.ask(method, path, { token, ...how, headers: { 'idempotency-key': key, ...how.headers } })
const deployments = async () => plane.sql`select id from deployments where app_id = ${app}`

async function archive(content: string): Promise<Buffer> {
  const folder = await mkdtemp(join(plane.home, 'app-'))
  await writeFile(join(folder, 'index.html'), content)
  return buffer(create({ cwd: folder, gzip: true, portable: true }, ['.']))
}

describe('a change with an Idempotency-Key', () => {
  test('is made once, and answered the same again, secrets too', async () => {
    const json = { name: 'ci', scope: 'read' }
    const first = await ask('POST', 'tokens', { json })
    const again = await ask('POST', 'tokens', { json })
    expect(again).toMatchObject({ status: 200, json: first.json, headers: { 'idempotency-replayed': 'true' } })
    expect(first.headers['idempotency-replayed']).toBeUndefined()
    const { secret } = first.json as { secret: string }
    const rows = await plane.sql`select * from repeats where key = ${key}`
    expect(rows).toHaveLength(1)
    expect(JSON.stringify(rows) + String(rows[0]?.answer)).not.toContain(secret)
    expect(Buffer.from(rows[0]?.answer).includes(secret)).toBe(false)
  })

  test('is refused when the key stood for another request, whatever differs', async () => {
    expect((await ask('POST', 'lock', { json: { app_id: app, message: 'one' } })).status).toBe(200)
    for (const answer of [
      await ask('POST', 'lock', { json: { app_id: app, message: 'two' } }),
      await ask('POST', 'unlock', { json: { app_id: app } }),
      await ask('DELETE', `apps/${app}`),
    ])
      expect(answer).toMatchObject({ status: 422, json: { error: { code: 'REPEAT_OTHER' } } })
    expect((await plane.ask('GET', `apps/${app}`, { token })).status).toBe(200)
  })

  test('belongs to who sent it: the same key of another token is another one', async () => {
    const other = await plane.token('admin')
    await ask('POST', 'lock', { json: { app_id: app, message: 'one' } })
    const answer = await ask('POST', 'lock', { token: other, json: { app_id: app, message: 'two' } })
    expect(answer).toMatchObject({ status: 200, json: { message: 'two' } })
  })

  test('is answered after what it was about is gone', async () => {
    expect((await ask('DELETE', `apps/${app}`)).status).toBe(204)
    expect(await ask('DELETE', `apps/${app}`)).toMatchObject({
      status: 204,
      headers: { 'idempotency-replayed': 'true' },
    })
    expect((await plane.ask('DELETE', `apps/${app}`, { token })).status).toBe(404)
  })

  test('is made once when twenty come at the same time; the others are told to ask again, or have the answer', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => ask('POST', 'tokens', { json: { name: key, scope: 'read' } })),
    )
    const made = await plane.sql`select id from tokens where name = ${key}`
    expect(made).toHaveLength(1)
    for (const { status, json } of answers)
      if (status === 200) expect(json).toMatchObject({ id: made[0]?.id })
      else expect({ status, json }).toMatchObject({ status: 409, json: { error: { code: 'REPEAT_BUSY' } } })
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0)
  })

  test('that was refused is tried again', async () => {
    expect((await ask('POST', 'rollback', { json: { app_id: app } })).status).toBe(404)
    await plane.deployed(app, '1.0.0')
    await plane.deployed(app, '2.0.0')
    expect((await ask('POST', 'rollback', { json: { app_id: app } })).status).toBe(200)
  })

  test('may be a deployment: its progress is told again from the beginning', async () => {
    const body = await archive('one')
    const first = await ask('POST', `deploy?app=${app}&version=1.0.0&follow=false`, { body })
    const again = await ask('POST', `deploy?app=${app}&version=1.0.0&follow=false`, { body })
    expect(again).toMatchObject({ status: 202, json: first.json })
    expect(await deployments()).toHaveLength(1)
    const other = await archive('another')
    expect(await ask('POST', `deploy?app=${app}&version=1.0.0&follow=false`, { body: other })).toMatchObject({
      status: 422,
      json: { error: { code: 'REPEAT_OTHER' } },
    })

    key = randomUUID()
    plane.worker.onWake = (id) => void finishDeployment(plane.sql, plane.config, id)
    const followed = await ask('POST', `deploy?app=${app}&version=1.0.1&canary=skip`, { body })
    const retold = await ask('POST', `deploy?app=${app}&version=1.0.1&canary=skip`, { body })
    plane.worker.onWake = () => undefined
    expect(eventsOf(followed.text).at(-1)).toMatchObject({ type: 'end', ok: true })
    expect(eventsOf(retold.text).at(0)).toMatchObject({ type: 'start', deployment: { version: '1.0.1' } })
    expect(eventsOf(retold.text).at(-1)).toEqual(eventsOf(followed.text).at(-1))
    expect(await deployments()).toHaveLength(2)
  })

  test('may be a deployment whose reader was cut off: asked again it is the same one, from its beginning', async () => {
    const body = await archive('cut')
    const leaving = new AbortController()
    const path = `deploy?app=${app}&version=2.0.0&canary=skip`
    const how = { token, headers: { 'idempotency-key': key } }
    const cut = await plane.stream('POST', path, { ...how, body, signal: leaving.signal })
    cut.on('error', () => undefined)
    const [first] = await once(cut, 'data')
    expect(String(first)).toContain('"type":"start"')
    leaving.abort()

    const again = plane.ask('POST', path, { ...how, body })
    await expect.poll(deployments).toHaveLength(1)
    const [made] = await deployments()
    await finishDeployment(plane.sql, plane.config, String(made?.id))
    const told = await again
    expect(told.headers).toMatchObject({ 'idempotency-replayed': 'true' })
    expect(eventsOf(told.text).at(0)).toMatchObject({ type: 'start', deployment: { id: made?.id } })
    expect(eventsOf(told.text).at(-1)).toMatchObject({ type: 'end', ok: true })
    expect(await deployments()).toHaveLength(1)
  })

  test('may be an upload that was cut off: nothing was made, and it is tried again', async () => {
    const body = await archive('x'.repeat(100_000))
    const path = `deploy?app=${app}&version=3.0.0&follow=false`
    const half = new PassThrough()
    half.write(body.subarray(0, body.length / 2))
    const cut = ask('POST', path, { body: half })
    const isUnderWay = async () => (await plane.sql`select key from repeats where key = ${key}`).length
    await expect.poll(isUnderWay).toBe(1)
    expect(await ask('POST', path, { body })).toMatchObject({ status: 409, json: { error: { code: 'REPEAT_BUSY' } } })
    half.destroy(new Error('the connection is cut'))
    await expect(cut).rejects.toThrow()
    await expect.poll(isUnderWay).toBe(0)
    expect(await ask('POST', path, { body })).toMatchObject({ status: 202, json: { version: '3.0.0' } })
    expect(await deployments()).toHaveLength(1)
  })

  test('that failed through no fault of the caller is tried again', async () => {
    const json = { host: 'www.example.org' }
    await plane.sql`alter table domains rename to domains_gone`
    const failed = await ask('POST', `apps/${app}/domains`, { json })
    await plane.sql`alter table domains_gone rename to domains`
    expect(failed.status).toBe(500)
    expect(await ask('POST', `apps/${app}/domains`, { json })).toMatchObject({ status: 200, json })
  })

  test('is kept for a day', async () => {
    await ask('POST', 'lock', { json: { app_id: app, message: 'one' } })
    await plane.sql`update repeats set began_at = now() - interval '25 hours' where key = ${key}`
    expect(await ask('POST', 'lock', { json: { app_id: app, message: 'two' } })).toMatchObject({
      json: { message: 'two' },
    })
    await plane.sql`update repeats set began_at = now() - interval '25 hours' where key = ${key}`
    await pruneRepeats(plane.sql)
    expect(await plane.sql`select key from repeats where key = ${key}`).toEqual([])
  })

  test.each(['', 'a b', 'ä', 'x'.repeat(201)])('whose key is %j is refused', async (bad) => {
    const answer = await plane.ask('POST', 'lock', {
      token,
      json: { app_id: app, message: 'one' },
      headers: { 'idempotency-key': Buffer.from(bad).toString('latin1') },
    })
    expect(answer).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
  })
})
