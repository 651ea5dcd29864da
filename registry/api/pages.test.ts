import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { newId } from '../ids.ts'
import { toCursor } from './cursor.ts'
import { openApiDocument } from './openapi.ts'
import { routeTable } from './route-table.ts'
import type { Schema } from './schema-text.ts'

const plane = await startControlPlane()
const { sql } = plane
afterAll(() => plane.close())

type Operation = {
  description: string
  parameters?: { name: string; in: string }[]
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>
}
const document = openApiDocument(plane.config)
const operationOf = (path: string) => document.paths?.[`/api/platform${path}`]?.get as unknown as Operation
const gets = routeTable.filter(({ method }) => method === 'get')

function named(schema: Schema | undefined): Schema {
  if (!schema?.$ref) return schema ?? {}
  return named(
    ((document.components?.schemas ?? {}) as Record<string, Schema>)[schema.$ref.slice('#/components/schemas/'.length)],
  )
}

/** What of the answer holds many: its fields that are lists, and lines without end. */
function listsOf(path: string): string[] {
  const content = operationOf(path).responses['200']?.content ?? {}
  const fields = Object.entries(named(content['application/json']?.schema).properties ?? {})
  const lists = fields.filter(([, schema]) => named(schema).type === 'array').map(([name]) => name)
  return [...lists, ...('application/x-ndjson' in content ? ['lines'] : [])]
}

function isPaged(path: string): boolean {
  const { parameters = [], responses } = operationOf(path)
  const query = parameters.filter((one) => one.in === 'query').map(({ name }) => name)
  const answer = named(responses['200']?.content?.['application/json']?.schema).properties ?? {}
  return query.includes('limit') && query.includes('cursor') && 'next' in answer
}

const paged = gets.map(({ path }) => path).filter(isPaged)

test('a list comes in pages, or its route names why it is whole, and the document says it', () => {
  const lists = gets.map(({ path }) => path).filter((path) => listsOf(path).length > 0)
  expect(lists).toEqual(expect.arrayContaining(['/apps', '/tokens', '/deploys', '/deployments/{id}/logs']))
  const whole = lists.filter((path) => /Whole, not in pages: .{10,}\./.test(operationOf(path).description))
  expect(
    lists.filter((path) => !isPaged(path) && !whole.includes(path)),
    'neither',
  ).toEqual([])
  expect(whole.filter(isPaged), 'both').toEqual([])
  expect(paged).toHaveLength(14)
})

let token: string
let app: string
let deployment: string
let hook: string
beforeAll(async () => {
  token = await plane.token('admin')
  app = await plane.app()
  deployment = (await plane.deployed(app, '1.0.0')).id
  await sql`insert into repo_links ${sql({ id: 'a'.repeat(24), app_id: app, host: 'github', url: 'https://x.example/a/b', full_name: 'a/b', api_url: 'https://x.example', secret: Buffer.alloc(1), forks: 'off', created_by: 'ada' })}`
  const json = { url: 'https://receiver.example/' }
  hook = ((await plane.ask('POST', `apps/${app}/webhooks`, { token, json })).json as { id: string }).id
})

const here = (path: string) =>
  path.replace('{app}', app).replace('{id}', deployment).replace('{webhook}', hook).slice(1)

// One more entry of each list; what is made later may come before or after what was shown.
let made = 0
const branch = () => {
  made += 1
  return `b${String((made * 37) % 100).padStart(3, '0')}`
}
const route = async () => {
  const [id, name] = [newId(), branch()]
  await sql`insert into routes (id, app_id, environment, branch, label) values (${id}, ${app}, 'preview', ${name}, ${`l-${id}`})`
  return { id, name }
}
const event = async (at = `apps/${app}/webhooks/${hook}`) => plane.ask('POST', `${at}/test`, { token })
type Maker = {
  more: () => Promise<unknown>
  list: string
  query?: string
  key?: string
  /** Has all entries there are made at one moment. */
  atOnce?: () => Promise<unknown>
}
const then = new Date('2026-01-01T00:00:00.123Z')
const makers: Record<string, Maker> = {
  '/apps': { more: () => plane.app(), list: 'apps' },
  '/deploys': {
    more: () => plane.deployed(app, `1.1.${++made}`),
    list: 'deployments',
    atOnce: () => sql`update deployments set created_at = ${then}`,
  },
  '/deployments/{id}/events': {
    more: () => sql`
      insert into deployment_events (deployment_id, app_id, from_state, to_state, by)
      values (${deployment}, ${app}, 'live', ${`state-${++made}`}, 'ada')`,
    list: 'events',
    key: 'to',
    atOnce: () => sql`
      insert into deployment_events (deployment_id, app_id, from_state, to_state, by, at)
      select ${deployment}, ${app}, 'live', 'alike-' || number, 'ada', ${then}
      from generate_series(1, 5) number`,
  },
  '/apps/{app}/runs': {
    more: () => sql`
      insert into app_runs (id, app_id, deployment_id, by, shown, takes_input, timeout_sec)
      values (${newId()}, ${app}, ${deployment}, 'ada', 'true', false, 1)`,
    list: 'runs',
    atOnce: () => sql`update app_runs set created_at = ${then}`,
  },
  '/apps/{app}/databases': {
    more: async () => {
      const { id, name } = await route()
      await sql`
        insert into app_databases (name, app_id, environment, branch, route_id, password)
        values (${`app_${newId()}`}, ${app}, 'preview', ${name}, ${id}, ${Buffer.alloc(1)})`
    },
    list: 'databases',
    query: '&facts=false',
    key: 'name',
  },
  '/apps/{app}/previews': {
    more: route,
    list: 'previews',
    key: 'branch',
    atOnce: () => sql`update routes set created_at = ${then}`,
  },
  '/apps/{app}/domains': {
    more: () =>
      sql`insert into domains (host, app_id, created_by) values (${`${branch()}-${newId()}.example`}, ${app}, 'ada')`,
    list: 'domains',
    key: 'host',
  },
  '/apps/{app}/members': {
    more: () => plane.person('guest', { [app]: 'viewer' }),
    list: 'members',
    key: 'person',
  },
  '/people': { more: () => plane.person(), list: 'people', key: 'name' },
  '/audit': { more: () => plane.ask('POST', 'unlock', { token, json: { app_id: app } }), list: 'entries' },
  '/tokens': {
    more: () => plane.token('read'),
    list: 'tokens',
    atOnce: () => sql`update tokens set created_at = ${then}`,
  },
  '/status': { more: route, list: 'apps', key: 'url' },
  '/apps/{app}/webhooks/{webhook}/deliveries': { more: () => event(), list: 'deliveries' },
}

const pageOf = async (path: string, limit: number, cursor: string | null) => {
  const { list, query = '', key = 'id' } = makers[path] ?? { list: '' }
  const after = cursor === null ? '' : `&cursor=${cursor}`
  const { status, json, text } = await plane.ask('GET', `${here(path)}?limit=${limit}${query}${after}`, { token })
  expect(status, text).toBe(200)
  const answer = json as Record<string, Record<string, unknown>[]> & { next: string | null }
  return { keys: (answer[list] ?? []).map((one) => one[key]), next: answer.next }
}

async function walk(path: string, between: () => Promise<unknown>): Promise<unknown[]> {
  const seen: unknown[] = []
  for (let next: string | null = null, isFirst = true; isFirst || next !== null; isFirst = false) {
    const page = await pageOf(path, 2, next)
    expect(page.keys.length).toBeLessThanOrEqual(2)
    seen.push(...page.keys)
    next = page.next
    // Of what is made without end there is no last page.
    if (seen.length < 12) await between()
  }
  return seen
}

describe.each(paged.filter((path) => !path.startsWith('/webhooks')))('the list %s', (path) => {
  test('is read whole in pages, each entry once, while others come', async () => {
    const { more } = makers[path] ?? {}
    if (!more) throw new Error(`no way to make more of ${path}`)
    for (let count = 0; count < 7; count += 1) await more()
    const before = (await pageOf(path, path.endsWith('deliveries') ? 100 : 200, null)).keys
    expect(before.length).toBeGreaterThanOrEqual(7)
    const seen = await walk(path, more)
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen.filter((key) => before.includes(key))).toEqual(before)
  })

  test.runIf(makers[path]?.atOnce)('is read whole also where entries were made at one moment', async () => {
    await makers[path]?.atOnce?.()
    const whole = (await pageOf(path, path.endsWith('deliveries') ? 100 : 200, null)).keys
    expect(whole.length).toBeGreaterThanOrEqual(5)
    expect(await walk(path, async () => undefined)).toEqual(whole)
  })

  test.each([
    'abc',
    'bm8',
    toCursor([]),
    toCursor(['x'.repeat(280)]),
    toCursor([1, 2, 3, 4]),
    toCursor([{}]),
    toCursor([null, null]),
    toCursor(['1', 'a\0']),
    toCursor([['1', 'a\0'], 1]),
    '%00',
    'x'.repeat(401),
  ])('refuses the cursor %s and says what it is', async (cursor) => {
    const { status, json } = await plane.ask('GET', `${here(path)}?cursor=${cursor}`, { token })
    const message = expect.stringMatching(/^query\.cursor: must be the `next` of the page before/)
    expect({ status, json }).toEqual({ status: 400, json: { error: { code: 'REQUEST_INVALID', message } } })
  })
})

test('previews and pull requests go on with one cursor, whichever of them is longer', async () => {
  const [own] = [await plane.app()]
  await sql`insert into repo_links ${sql({ id: 'b'.repeat(24), app_id: own, host: 'github', url: 'https://x.example/a/c', full_name: 'a/c', api_url: 'https://x.example', secret: Buffer.alloc(1), forks: 'off', created_by: 'ada' })}`
  for (let number = 1; number <= 5; number += 1)
    await sql`insert into repo_heads (link_id, app_id, branch, pull_request, is_open, head_sha) values (${'b'.repeat(24)}, ${own}, ${`pr/${number}`}, ${number}, true, ${'a'.repeat(40)})`
  await sql`insert into routes (id, app_id, environment, branch, label) values (${newId()}, ${own}, 'preview', 'pr/1', ${`${own}-pr-1`})`
  const shown = { previews: [] as unknown[], pulls: [] as unknown[] }
  for (let cursor = ''; cursor !== 'end'; ) {
    const { json } = await plane.ask('GET', `apps/${own}/previews?limit=2${cursor}`, { token })
    const page = json as { previews: { branch: string }[]; pull_requests: { number: number }[]; next: string | null }
    shown.previews.push(...page.previews.map((one) => one.branch))
    shown.pulls.push(...page.pull_requests.map(({ number }) => number))
    cursor = page.next === null ? 'end' : `&cursor=${page.next}`
  }
  expect(shown).toEqual({ previews: ['pr/1'], pulls: [1, 2, 3, 4, 5] })
})

test('deployments of one version come in pages, production before previews', async () => {
  const own = await plane.app()
  const sha = 'c'.repeat(40)
  const ids: string[] = []
  for (const at of ['main', 'pr/1', 'pr/2']) ids.push((await plane.deployed(own, sha, at)).id)
  const seen: string[] = []
  for (let cursor = ''; cursor !== 'end'; ) {
    const { json } = await plane.ask('GET', `deploys?app=${own}&version=${sha}&limit=1${cursor}`, { token })
    const page = json as { deployments: { id: string }[]; next: string | null }
    seen.push(...page.deployments.map(({ id }) => id))
    cursor = page.next === null ? 'end' : `&cursor=${page.next}`
  }
  expect(seen).toEqual([ids[0], ids[2], ids[1]])
})
