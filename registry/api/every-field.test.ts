import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { createDeployment } from '../deployments.ts'
import { openApiDocument } from './openapi.ts'
import type { Route } from './route.ts'
import { routeTable } from './route-table.ts'
import { samples } from './test-samples.ts'

// C4, C10: what no honest client sends, in every field that the OpenAPI document has. A new route or field is in here by being described.
const plane = await startControlPlane()
afterAll(() => plane.close())

const canary = join(plane.home, 'canary')
const hostile = [
  `$(touch ${canary})`,
  `\`touch ${canary}\``,
  `;touch ${canary};`,
  `x|touch ${canary}`,
  `x&&touch ${canary}`,
  `x\ntouch ${canary}\n`,
  `'"\${IFS}touch\${IFS}${canary}`,
  `--upload-pack=touch ${canary}`,
]
const never = {
  ownerId: 'me',
  owner_id: 'me',
  uid: 0,
  person_id: 'me',
  is_admin: true,
  scope_: 'admin',
}

type Schema = {
  $ref?: string
  type?: string | string[]
  properties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  items?: Schema
  anyOf?: Schema[]
  oneOf?: Schema[]
}
type Operation = {
  parameters?: { name: string; in: 'path' | 'query'; schema: Schema }[]
  requestBody?: { content: Record<string, { schema: Schema }> }
}
type Document = { paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, Schema> } }
const document = JSON.parse(JSON.stringify(openApiDocument(plane.config))) as Document

/** The ways to a text in a value of that schema: `values.*` is any key's value, `values.?` a key, `names.0` an entry. */
function textsIn(schema: Schema, way: string[] = []): string[][] {
  const known = schema.$ref ? (document.components.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {}) : schema
  const types = [known.type ?? []].flat()
  const open = typeof known.additionalProperties === 'object' ? known.additionalProperties : null
  return [
    ...(types.includes('string') ? [way] : []),
    ...Object.entries(known.properties ?? {}).flatMap(([name, each]) => textsIn(each, [...way, name])),
    ...(open ? [[...way, '?'], ...textsIn(open, [...way, '*'])] : []),
    ...(known.items ? textsIn(known.items, [...way, '0']) : []),
    ...[...(known.anyOf ?? []), ...(known.oneOf ?? [])].flatMap((each) => textsIn(each, way)),
  ]
}

function withText(value: unknown, [name, ...rest]: string[], text: string): unknown {
  if (name === undefined) return text
  if (name === '0') return [withText(undefined, rest, text)]
  const given = typeof value === 'object' && value !== null ? value : {}
  if (name === '?') return { ...given, [text]: 'x' }
  const key = name === '*' ? 'KEY' : name
  return { ...given, [key]: withText(Reflect.get(given, key), rest, text) }
}

let token: string
beforeAll(async () => {
  token = await plane.token('admin')
})

async function prepare() {
  const app = await plane.app()
  await plane.deployed(app, '1.0.0')
  const { id } = await createDeployment(plane.sql, {
    app,
    target: { environment: 'production', branch: 'main', label: app },
    version: '1.0.2',
    source: 'upload',
    by: 'ada',
  })
  return { app, id, person: (await plane.person()).name, run: 'nosuchruning', webhook: 'nosuchhook', delivery: '1' }
}

type Named = Awaited<ReturnType<typeof prepare>>
type Changed = { path?: Record<string, string>; query?: Record<string, string>; json?: unknown }

function ask({ method, path }: Route, named: Named, { path: inPath = {}, query = {}, json }: Changed) {
  const sample = samples[`${method} ${path}`]
  const names: Record<string, string> = { ...named, ...(sample?.id && { id: sample.id }), ...inPath }
  const asked = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(names[name] ?? '')).slice(1)
  const search = new URLSearchParams(sample?.query?.replace('APP', named.app))
  for (const [name, text] of Object.entries(query)) search.set(name, text)
  const body = json ?? sample?.json?.(named.app)
  return plane.ask(method.toUpperCase(), `${asked}?${search}`, {
    token,
    ...(body !== undefined && { json: body }),
    ...(body === undefined && sample?.body && { body: sample.body }),
  })
}

describe.each(routeTable.map((route) => [`${route.method} ${route.path}`, route] as const))('%s', (name, route) => {
  const operation = document.paths[`/api/platform${route.path}`]?.[route.method] ?? {}
  const schema = operation.requestBody?.content['application/json']?.schema
  const ofSample = (app: string) => samples[name]?.json?.(app)

  test('C4: what a shell would run is refused or inert, in every field', async () => {
    const named = await prepare()
    for (const text of hostile) {
      const requests: Changed[] = [
        ...(operation.parameters ?? []).map((parameter) => ({ [parameter.in]: { [parameter.name]: text } })),
        ...(schema ? textsIn(schema).map((way) => ({ json: withText(ofSample(named.app), way, text) })) : []),
      ]
      for (const request of requests) {
        const answer = await ask(route, named, request)
        expect(answer.status, `${JSON.stringify(request)}: ${answer.text}`).toBeLessThan(500)
        expect(answer.headers['content-type'] ?? 'application/json').toMatch(/json|event-stream/)
      }
    }
    await expect(access(canary)).rejects.toThrow('ENOENT')
  })

  test.runIf(schema)('C10: a field that is not described is refused, and changes nobody’s rights', async () => {
    const named = await prepare()
    const rights = () => plane.sql`
      select (select json_agg(p order by id) from people p) as people,
             (select json_agg(m order by app_id, person_id) from members m) as members,
             (select count(*) from tokens) as tokens
    `
    const before = await rights()
    for (const [field, value] of Object.entries(never)) {
      const answer = await ask(route, named, { json: { ...Object(ofSample(named.app) ?? {}), [field]: value } })
      expect(answer, field).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
    }
    const body = JSON.stringify(ofSample(named.app) ?? {})
      .replace(/^\{/, '{"__proto__":{"role":"owner"},')
      .replace(',}', '}')
    const path = route.path.replace(/\{(\w+)\}/g, (_, each: keyof Named) => named[each]).slice(1)
    const polluted = await plane.ask(route.method.toUpperCase(), path, {
      token,
      body: Buffer.from(body),
      headers: { 'content-type': 'application/json' },
    })
    expect(polluted).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
    expect(Reflect.get({}, 'role')).toBeUndefined()
    expect(await rights()).toEqual(before)
  })
})
