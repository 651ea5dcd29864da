import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { create } from 'tar'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { appendAppLog } from '../app-logs.ts'
import { createSession } from '../console-sessions.ts'
import { newId } from '../ids.ts'

// What is open when somebody loses a right ends by itself, within five seconds (it is asked every four).
const plane = await startControlPlane()
afterAll(() => plane.close())

let admin: string
beforeAll(async () => {
  admin = await plane.token('admin')
})

const host = 'console.localhost:8080'
type Ask = Parameters<typeof plane.stream>[2]

/** An open follow of an app's log, which has been seen to be open: a line came. */
async function follow(app: string, deploymentId: string, how: Ask) {
  const response = await plane.stream('GET', `apps/${app}/logs?follow=true`, how)
  const lines = createInterface({ input: response })[Symbol.asyncIterator]()
  const next = async (): Promise<string | null> => {
    for (;;) {
      const { value, done } = await lines.next()
      if (done) return null
      if (value.includes('{')) return value
    }
  }
  const write = (text: string) =>
    appendAppLog(plane.sql, [{ appId: app, deploymentId, version: '1.0.0', at: new Date(), stream: 'stdout', text }])
  /** Reads on to a line with that text. */
  const until = async (text: string): Promise<string> => {
    for (let line = await next(); line !== null; line = await next()) if (line.includes(text)) return line
    throw new Error(`the stream ended without ${text}`)
  }
  const [first, second] = [newId(), newId()]
  await write(first)
  await until(first)
  await write(second)
  await until(second)
  return { next, until, write }
}

async function endOf({ next, until }: Awaited<ReturnType<typeof follow>>): Promise<void> {
  expect(await until('"type":"end"')).toContain('"UNAUTHENTICATED"')
  expect(await next()).toBeNull()
}

async function situation() {
  const app = await plane.app()
  const { id } = await plane.deployed(app, '1.0.0')
  const person = await plane.person('guest', { [app]: 'viewer' })
  return { app, id, person }
}
type Situation = Awaited<ReturnType<typeof situation>>

describe.each([
  ['lines of JSON', {}],
  ['server-sent events', { accept: 'text/event-stream' }],
])('C6: a log that is followed as %s', (_, headers) => {
  const losses: [string, (at: Situation) => Promise<unknown>][] = [
    ['the token is deleted', ({ person }) => plane.sql`delete from tokens where person_id = ${person.id}`],
    [
      'the token expires',
      ({ person }) => plane.sql`update tokens set expires_at = now() where person_id = ${person.id}`,
    ],
    [
      'the role is taken',
      ({ app, person }) => plane.ask('DELETE', `apps/${app}/members/${person.name}`, { token: admin }),
    ],
    ['the person is removed', ({ person }) => plane.ask('DELETE', `people/${person.name}`, { token: admin })],
  ]
  test.each(losses)('is cut when %s', async (_loss, lose) => {
    const at = await situation()
    const stream = await follow(at.app, at.id, { token: await at.person.token('read'), headers })
    const other = await follow(at.app, at.id, { token: admin, headers })
    await lose(at)
    await endOf(stream)
    await stream.write('not for them')
    await other.until('not for them')
  })
})

// Every stream there is, and what becomes of what it told of: only the telling ends, but for a command, which nobody else minds.
const archive = async () => {
  const folder = await mkdtemp(join(plane.home, 'app-'))
  await writeFile(join(folder, 'index.html'), 'one')
  return buffer(create({ cwd: folder, gzip: true, portable: true }, ['.']))
}
const stateOf = async (id: string) => (await plane.sql`select state from deployments where id = ${id}`)[0]?.state
type Opened = { first: string; after?: (first: Record<string, unknown>) => Promise<unknown> }
const goesOn = async (first: Record<string, unknown>) => {
  const { id } = first['deployment'] as { id: string }
  expect(await stateOf(id)).toBe('queued')
}
const streams: [string, (at: Situation, how: Ask) => ReturnType<typeof plane.stream>, Opened][] = [
  [
    'an upload that is deployed',
    async ({ app }, how) => plane.stream('POST', `deploy?app=${app}`, { ...how, body: await archive() }),
    { first: 'start', after: goesOn },
  ],
  [
    'a redeployment',
    ({ app }, how) => plane.stream('POST', 'redeploy', { ...how, json: { app_id: app } }),
    { first: 'start', after: goesOn },
  ],
  [
    'a build log',
    async ({ app }, how) => {
      const { json } = await plane.ask('POST', `deploy?app=${app}&follow=false`, {
        token: admin,
        body: await archive(),
      })
      return plane.stream('GET', `deployments/${(json as { id: string }).id}/logs?follow=true`, how)
    },
    { first: 'start', after: goesOn },
  ],
  [
    'a rollout',
    async ({ app }, how) => {
      await plane.rollout(app, '1.1.0')
      return plane.stream('GET', `apps/${app}/rollout?follow=true`, how)
    },
    { first: 'rollout' },
  ],
  [
    'a command',
    async ({ app }, how) => {
      await plane.sql`update builds set kind = 'fetch' where app_id = ${app}`
      return plane.stream('POST', `apps/${app}/runs`, { ...how, json: { command: ['sleep', '600'] } })
    },
    {
      first: 'run',
      after: async (first) => {
        const { id } = first['run'] as { id: string }
        const state = async () => (await plane.sql`select state from app_runs where id = ${id}`)[0]?.state
        await expect.poll(state).toBe('ended')
      },
    },
  ],
]

describe.each(streams)('C6: %s that is followed', (_, open, { first, after }) => {
  test.each([
    ['deleted', 'application/x-ndjson'],
    ['expired', 'text/event-stream'],
  ])('is cut when the token is %s (%s)', async (how, accept) => {
    await plane.sql`insert into edges (id) values ('cut') on conflict (id) do update set seen_at = now() + interval '1 minute'`
    await plane.sql`update edges set seen_at = now() + interval '1 minute'`
    const app = await plane.app()
    const { id } = await plane.deployed(app, '1.0.0')
    const person = await plane.person('guest', { [app]: 'deployer' })
    const response = await open({ app, id, person }, { token: await person.token('deploy'), headers: { accept } })
    expect(response.statusCode).toBe(200)
    const lines = createInterface({ input: response })[Symbol.asyncIterator]()
    const next = async (): Promise<Record<string, unknown> | null> => {
      for (;;) {
        const { value, done } = await lines.next()
        if (done) return null
        const [json] = /\{.*/.exec(value) ?? []
        if (json) return JSON.parse(json)
      }
    }
    const opened = await next()
    expect(opened).toMatchObject({ type: first })
    if (how === 'deleted') await plane.sql`delete from tokens where person_id = ${person.id}`
    else await plane.sql`update tokens set expires_at = now() where person_id = ${person.id}`
    let last = opened
    for (let event = await next(); event !== null; event = await next()) last = event
    expect(last).toMatchObject({ type: 'end', error: { code: 'UNAUTHENTICATED' } })
    await after?.(opened ?? {})
  })
})

test('C6: a log that is followed in the console is cut when its person is signed out', async () => {
  const { app, id, person } = await situation()
  const { secret } = await createSession(plane.sql, person.id)
  const headers = { cookie: `atelier_console_8080=${secret}` }
  const stream = await follow(app, id, { host, headers })
  await plane.ask('DELETE', `people/${person.name}/sessions`, { token: admin })
  await endOf(stream)
})

test('C6: what a lesser role is still good for goes on', async () => {
  const { app, id, person } = await situation()
  const token = await person.token()
  await plane.ask('PUT', `apps/${app}/members/${person.name}`, { token: admin, json: { role: 'owner' } })
  const stream = await follow(app, id, { token })
  await plane.ask('PUT', `apps/${app}/members/${person.name}`, { token: admin, json: { role: 'viewer' } })
  const lesser = await follow(app, id, { token: await plane.token('read') })
  await plane.sql`delete from tokens where name = 'read-all'`
  // Those two are asked in step: when the one is cut, the other was asked, too.
  await endOf(lesser)
  await stream.write('still there')
  await stream.until('still there')
})
