import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { text as readText } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import type { OpenApiDocument } from '../../registry/api/openapi.ts'
import type { Schema } from '../../registry/api/schema-text.ts'
import { targetOfBranch } from '../../registry/branches.ts'
import { routesKey } from '../../registry/bundle-store/keys.ts'
import { createDeployment } from '../../registry/deployments.ts'
import { notePullRequest } from '../../registry/repo-heads.ts'
import { createToken } from '../../registry/tokens.ts'
import { sendTest } from '../../registry/webhooks/deliveries.ts'
import type { ControlPlane } from './control-plane.ts'
import { emptyManifest } from './manifest.ts'

type Parameter = { name: string; in: 'path' | 'query'; required?: boolean; schema: Schema }
type Content = Record<string, { schema: Schema }>
type Operation = {
  parameters?: Parameter[]
  requestBody?: { content: Content }
  responses: Record<string, { content?: Content }>
}
export type DescribedRoute = { name: string; method: string; path: string; operation: Operation }

/** What a request of the property run is made of; `json` is the text of the body. */
type Asked = { path: string; token: string | null; body: { type: string; bytes: Buffer } | null }

/** What is there, so that valid requests get somewhere: by the name of the parameter or field that says it. */
export type Known = { versions: string[]; tokens: (string | null)[]; named: Record<string, string[]> }

const firstLineMs = 150

// What has broken others: shells, SQL, paths, prototypes, terminals, characters that are half of one, or look like another.
const hostile = [
  ...[
    '',
    ' ',
    '\0',
    'a\0b',
    '\ud800',
    'a\udfffb',
    '\u202eabc',
    '\u2028',
    '\ufeff',
    'ＡＢＣ',
    'é',
    'e\u0301',
    'İ',
    '👩‍👩‍👧',
  ],
  ...[
    '__proto__',
    'constructor',
    'prototype',
    'hasOwnProperty',
    'toString',
    'null',
    'undefined',
    'NaN',
    'true',
    '-0',
    '1e309',
  ],
  ...[
    '$(id)',
    '`id`',
    '; touch /tmp/c',
    '| id',
    '&& id',
    '-rf',
    '--upload-pack=x',
    "' or 1=1 --",
    '"; drop table apps; --',
    '%00',
    '%',
  ],
  ...[
    '../../etc/passwd',
    '/etc/passwd',
    '..',
    '.',
    '//',
    'a/b',
    'C:\\x',
    'file:///etc',
    'http://127.0.0.1',
    '\r\nx: y',
    '\x1b[2J',
    '<img onerror=x>',
  ],
  ...['9'.repeat(30), 'a'.repeat(300), 'ä'.repeat(3000), '{}', '[]', '"', '\\', '2147483648', '-1', '0x10', '1.5', '٣'],
]

/** Every route that the document describes; those that remove come last, for the others need what is there. */
export function describedRoutes(document: OpenApiDocument): DescribedRoute[] {
  const all = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item as Record<string, Operation>).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path.replace('/api/platform/', '')}`,
      ...{ method: method.toUpperCase(), path, operation },
    })),
  )
  return all.toSorted((one, other) => harmOf(one) - harmOf(other))
}

// An app or a person takes along what the others would remove.
function harmOf({ method, path }: DescribedRoute): number {
  if (method !== 'DELETE') return 0
  return /\/(apps|people)\/\{\w+\}$/.test(path) ? 2 : 1
}

/** Apps with deployments, a repository and a webhook, people, and tokens, most of which may do everything. */
export async function seedPlane(plane: ControlPlane): Promise<Known> {
  const [app, other] = [await plane.app(), await plane.app()]
  const admin = await plane.token('admin')
  const deployments: string[] = []
  for (const version of ['1.0.0', '2.0.0', 'a'.repeat(40)]) deployments.push((await plane.deployed(app, version)).id)
  deployments.push((await plane.deployed(app, 'b'.repeat(40), 'pr/42')).id)
  await plane.deployed(other, '1.0.0')
  await storeManifest(plane)
  const versions = ['1.0.0', '2.0.0', 'v1', 'v4', 'aaaaaaa', 'b'.repeat(40), '9.9.9']
  const waiting = await createDeployment(plane.sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, 'pr/43'),
    ...{ version: '3.0.0', source: 'upload', by: 'ada' },
  })
  const { token } = await createToken(plane.sql, { name: 'to be removed', scope: 'read' })
  const ids = [...deployments, waiting.id, token.id]
  const named = { app: [app, other], app_id: [app, other], id: ids, of: versions, version: versions, to: versions }
  return {
    versions,
    tokens: [...Array(6).fill(admin), await plane.token('read'), null],
    named: { ...named, from: versions, ...addresses, ...(await seedOthers(plane, app, admin)) },
  }
}

const addresses = {
  url: ['https://git.example/ada/shop', 'https://receiver.example/hook'],
  api_url: ['https://git.example/api/v1'],
  git: ['https://git.example/ada/shop.git'],
  secret: ['a-secret-of-enough-characters'],
  password: ['correct horse battery staple'],
  host: ['shop.example.com', 'www.example.org'],
  branch: ['main', 'pr/42'],
  ref: ['main'],
  names: ['NAME', 'NAME,VALUE'],
}

const forkHead = { number: 7, headSha: 'c'.repeat(40), isFork: true, saidAt: null }

async function seedOthers(plane: ControlPlane, app: string, token: string): Promise<Record<string, string[]>> {
  const { sql, ask } = plane
  const made = async (method: string, path: string, json: object): Promise<Record<string, string>> => {
    const answer = await ask(method, path, { token, json })
    if (answer.status >= 300) throw new Error(`${method} ${path} answered ${answer.status}: ${answer.text}`)
    return answer.json as Record<string, string>
  }
  await made('POST', 'people', { name: 'ada' })
  const url = 'https://git.example/ada/shop'
  const { hook_url: hook = '' } = await made('PUT', `apps/${app}/repo`, { host: 'gitea', url, forks: 'approve' })
  await notePullRequest(sql, { linkId: hook.split('/').at(-1) ?? '', appId: app }, forkHead)
  const webhooks = []
  const deliveries = []
  for (const appId of [app, null]) {
    const { id = '' } = await made('POST', appId ? `apps/${appId}/webhooks` : 'webhooks', { url: addresses.url[1] })
    webhooks.push(id)
    deliveries.push(String((await sendTest(sql, { id, appId })).id))
  }
  return {
    hook: [hook.split('/').at(-1) ?? ''],
    person: ['ada'],
    webhook: webhooks,
    delivery: deliveries,
    sha: [forkHead.headSha],
  }
}

// One for all builds, with nothing in it.
async function storeManifest({ sql, store }: ControlPlane): Promise<void> {
  const build = { app: 'any', version: '1.0.0', build: 'abcdef' }
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
  const routes = JSON.stringify({ framework: 'static', read_from: 'build', routes: [], static: [], notes: [] })
  const manifest = JSON.stringify({ ...emptyManifest, ...build, app_id: build.app, routes_sha256: sha256(routes) })
  await store.put('manifest.json', Buffer.from(manifest))
  await store.put(routesKey(build), Buffer.from(routes))
  await sql`update builds set manifest_key = 'manifest.json', manifest_sha256 = ${sha256(manifest)}`
}

/** Sends valid and hostile requests to routes, and holds each answer against what the document says of it. */
export class ApiProperties {
  readonly #plane: ControlPlane
  readonly #document: OpenApiDocument
  readonly #known: Known
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false })
  /** How often each status was answered. */
  readonly statuses = new Map<number, number>()

  constructor(plane: ControlPlane, document: OpenApiDocument, known: Known) {
    this.#plane = plane
    this.#document = document
    this.#known = known
    this.#ajv.addSchema(document as object, 'api')
  }

  /** Throws with the request, and fast-check's seed, that was not answered as the document says. */
  async check(route: DescribedRoute, numRuns: number): Promise<void> {
    const property = fc.asyncProperty(this.#requests(route), (asked) => this.#checkOne(route, asked))
    await fc.assert(property, { numRuns, endOnFailure: true })
  }

  async #checkOne(route: DescribedRoute, { path, token, body }: Asked): Promise<void> {
    const leaving = new AbortController()
    const response = await this.#plane.stream(route.method, path, {
      token,
      signal: leaving.signal,
      ...(body && { body: body.bytes, headers: { 'content-type': body.type } }),
    })
    response.on('error', () => undefined)
    try {
      await this.#judge(route, response)
    } finally {
      leaving.abort()
    }
  }

  async #judge({ name, path, method, operation }: DescribedRoute, response: Readable & Head): Promise<void> {
    const { statusCode: status = 0, headers } = response
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    // The HTTP server's own, of a head beyond 16 kB: nothing of ours has seen that.
    if (status === 431) return
    const type = String(headers['content-type'] ?? '').split(';')[0] ?? ''
    if (status >= 500) throw new Error(`${name} answered ${status}: ${await readText(response)}`)
    const described = operation.responses[String(status)]
    if (!described) throw new Error(`${name} answered ${status}, which is not described: ${await readText(response)}`)
    if (!described.content) {
      const text = await readText(response)
      if (text !== '') throw new Error(`${name} answered ${status} with a body: ${text}`)
      return
    }
    if (!described.content[type]) throw new Error(`${name} answered ${status} as ${type}, which is not described`)
    if (type === 'text/html') return void (await readText(response))
    const place = ['paths', path, method.toLowerCase(), 'responses', String(status), 'content', type, 'schema']
    const isSchema = this.#ajv.compile({ $ref: `api#/${place.map(escapePointer).join('/')}` })
    const text = type === 'application/json' ? await readText(response) : await firstLine(response)
    if (text === null) return
    const answer: unknown = JSON.parse(text)
    if (isSchema(answer)) return
    throw new Error(`${name} answered ${status} not as described: ${this.#ajv.errorsText(isSchema.errors)}\n${text}`)
  }

  #requests({ path, operation }: DescribedRoute): fc.Arbitrary<Asked> {
    const { parameters = [], requestBody } = operation
    const inPath = parameters.filter((one) => one.in === 'path')
    const inQuery = parameters.filter((one) => one.in === 'query')
    const values = fc.record({
      path: fc.tuple(...inPath.map((one) => this.#text(one))),
      query: fc.tuple(...inQuery.map((one) => fc.option(this.#text(one), { freq: one.required ? 12 : 2 }))),
      token: fc.constantFrom(...this.#known.tokens),
      body: requestBody ? this.#body(requestBody.content) : fc.constant(null),
    })
    return values.map(({ path: named, query, token, body }) => {
      const filled = inPath.reduce((made, { name }, at) => made.replace(`{${name}}`, percent(named[at] ?? '')), path)
      const pairs = inQuery.flatMap(({ name }, at) =>
        query[at] === null ? [] : [`${name}=${percent(query[at] ?? '')}`],
      )
      return { path: pairs.length > 0 ? `${filled}?${pairs.join('&')}` : filled, token, body }
    })
  }

  /** A parameter's value, as text. */
  #text({ name, schema }: Parameter): fc.Arbitrary<string> {
    const valid = this.#valid(schema, name).map((value) => (typeof value === 'string' ? value : JSON.stringify(value)))
    return fc.oneof({ weight: 5, arbitrary: valid }, { weight: 2, arbitrary: anyText })
  }

  #body(content: Content): fc.Arbitrary<Asked['body']> {
    const kinds = Object.entries(content).map(([type, { schema }]) =>
      type === 'application/json'
        ? this.#json(schema).map((text) => ({ type, bytes: Buffer.from(text) }))
        : fc.uint8Array({ maxLength: 64 }).map((bytes) => ({ type, bytes: Buffer.from(bytes) })),
    )
    const odd = fc.record({ type: fc.constantFrom('text/plain', 'application/json', ''), bytes: anyText.map(bytesOf) })
    return fc.oneof(...kinds.map((arbitrary) => ({ weight: 8, arbitrary })), { weight: 1, arbitrary: odd })
  }

  #json(schema: Schema): fc.Arbitrary<string> {
    const valid = this.#valid(schema, '').map((value) => JSON.stringify(value))
    // One field is something else, is missing, or is one too many.
    const spoiled = fc.tuple(this.#valid(schema, ''), fc.nat(), anyJson, fc.nat(3)).map(([value, at, other, how]) => {
      const fields = Object.entries(typeof value === 'object' && value !== null ? value : {})
      const [name = 'x'] = fields[at % Math.max(1, fields.length)] ?? []
      const rest = fields
        .filter(([one]) => one !== name)
        .map(([one, field]) => `${JSON.stringify(one)}:${JSON.stringify(field)}`)
      const added = how === 0 ? [] : [`${JSON.stringify(how === 1 ? '__proto__' : name)}:${JSON.stringify(other)}`]
      return `{${[...rest, ...added].join()}}`
    })
    return fc.oneof(
      { weight: 4, arbitrary: valid },
      { weight: 5, arbitrary: spoiled },
      { weight: 1, arbitrary: anyJson.map((value) => JSON.stringify(value) ?? '') },
    )
  }

  #valid(schema: Schema, name: string): fc.Arbitrary<unknown> {
    if (schema.$ref) return this.#valid(this.#named(schema.$ref), name)
    if (schema.enum) return fc.constantFrom(...schema.enum)
    if ('const' in schema) return fc.constant(schema.const)
    const either = schema.anyOf ?? schema.oneOf
    if (either) return fc.oneof(...either.map((one) => this.#valid(one, name)))
    return fc.oneof(...[schema.type ?? 'object'].flat().map((type) => this.#validType(type, schema, name)))
  }

  #validType(type: string, schema: Schema, name: string): fc.Arbitrary<unknown> {
    if (type === 'null') return fc.constant(null)
    if (type === 'boolean') return fc.boolean()
    if (type === 'string') return this.#validText(name)
    if (type === 'array') return fc.array(this.#valid(schema.items ?? {}, name), { maxLength: 3 })
    if (type === 'integer') {
      const any = fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 100 })
      return name === 'number' ? fc.oneof(any, fc.constant(forkHead.number)) : any
    }
    if (type === 'number') return fc.oneof(fc.integer({ min: 0, max: 100 }), fc.double())
    const { properties = {}, required = [], additionalProperties } = schema
    if (typeof additionalProperties === 'object')
      return fc.dictionary(this.#validText(name), this.#valid(additionalProperties, name), { maxKeys: 3 })
    const fields = Object.entries(properties).map(([key, one]) => [key, this.#valid(one, key)])
    return fc.record<Record<string, unknown>, string>(Object.fromEntries(fields), { requiredKeys: required })
  }

  #validText(name: string): fc.Arbitrary<string> {
    const { versions, named } = this.#known
    const words = ['main', 'pr/42', 'NAME', 'VALUE', 'www.example.org', 'https://git.example/x.git', 'ada', '/blog']
    const fitting = Object.entries(named).find(([key]) => key === name)?.[1] ?? [...words, ...versions]
    return fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...fitting) },
      { weight: 1, arbitrary: fc.constantFrom(...words, ...versions) },
      { weight: 1, arbitrary: fc.string({ minLength: 1, maxLength: 20 }) },
      { weight: 1, arbitrary: fc.constantFrom(...hostile) },
    )
  }

  #named(ref: string): Schema {
    const name = ref.slice(ref.lastIndexOf('/') + 1)
    return (this.#document.components?.schemas?.[name] ?? {}) as Schema
  }
}

type Head = { statusCode?: number; headers: Record<string, string | string[] | undefined> }

const anyText = fc.oneof(fc.constantFrom(...hostile), fc.string({ unit: 'binary', maxLength: 40 }))

const anyJson: fc.Arbitrary<unknown> = fc.oneof(
  anyText,
  fc.constantFrom<unknown>(null, true, 0, -1, 1e308, 2 ** 53, 1.5, [], {}, [['']], { toString: 'x' }, ['a'], {
    a: { b: [1] },
  }),
  fc.jsonValue({ maxDepth: 3 }),
)

function bytesOf(text: string): Buffer {
  return Buffer.from(text)
}

// Half a character is three bytes here, which is no UTF-8.
function percent(text: string): string {
  return Array.from(text, (one) =>
    /[\w.~-]/.test(one)
      ? one
      : one.isWellFormed()
        ? encodeURIComponent(one)
        : `%ed%${(0x80 + ((one.charCodeAt(0) >> 6) & 0x3f)).toString(16)}%${(0x80 + (one.charCodeAt(0) & 0x3f)).toString(16)}`,
  ).join('')
}

// Of a stream that may go on for ever, what comes at once; null: nothing yet.
async function firstLine(stream: Readable): Promise<string | null> {
  const lines = createInterface({ input: stream })[Symbol.asyncIterator]()
  const first = lines.next().then(({ value, done }) => (done || !value ? null : String(value)))
  return Promise.race([first.catch(() => null), pause(firstLineMs, null)])
}

function escapePointer(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))
}
