import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../registry/apps.ts'
import { setEnv } from '../../registry/env-vars.ts'
import { createLog } from '../../registry/log.ts'
import { loadKey } from '../../registry/secrets.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { Traffic } from '../../test/support/traffic.ts'

let database: TestDatabase
let edge: TestEdge

const server = `import { createServer } from 'node:http'
createServer((request, response) => response.end(JSON.stringify({ url: request.url, agent: request.headers['user-agent'], pid: process.pid }))).listen(process.env.PORT)`

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url)
  await edge.deploy('server', { kind: 'server', server: { 'index.mjs': server } })
  const files = {
    'index.html': 'top',
    'docs/index.html': 'docs',
    'about.html': 'about',
    'evil.com/index.html': 'a folder',
  }
  await edge.deploy('files', { kind: 'static', files })
  await edge.deploy('spa', { kind: 'static', files: { 'index.html': 'top' }, spa_fallback: true })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const raw = (host: string, target: string, ...lines: string[]) =>
  edge.raw(
    [`GET ${target} HTTP/1.1`, `Host: ${host}.apps.localhost`, 'Connection: close', ...lines, '', ''].join('\r\n'),
  )

const hostileTargets = [
  '//evil.com',
  '//evil.com/',
  '//evil.com/..',
  '///evil.com/docs',
  '/\\evil.com/',
  '/\\/evil.com/docs',
  '//evil.com/docs',
  '//evil.com//docs/',
  '/%2F%2Fevil.com/',
  '/%5Cevil.com/docs',
  '/%09/evil.com/docs',
  '/.//evil.com/docs',
  '/docs/..//evil.com/',
  '//evil.com/%2e%2e/docs',
  '/evil.com',
  '/docs?x=//evil.com',
  '/docs%0d%0aLocation:%20//evil.com/',
  '/docs%0d%0a%0d%0aHTTP/1.1%20200%20OK',
  '/docs?a%0d%0aSet-Cookie:own=1',
  '/about.html%0d%0aX-Own:1',
  '/%00',
]

describe.each(['files', 'spa', 'server', 'nobody'])('of %s', (host) => {
  test.each(hostileTargets)('E10: %s leads to no other host, and adds no header', async (target) => {
    const answer = await raw(host, target)
    expect(answer).toMatch(/^HTTP\/1\.1 (200|308|400|404) /)
    const [head = ''] = answer.split('\r\n\r\n', 1)
    expect(head).not.toMatch(/\n(set-cookie|x-own)/i)
    const location = /\r\nlocation: (.*)/i.exec(head)?.[1]
    if (location === undefined) return
    expect(new URL(location, `http://${host}.apps.localhost`).host).toBe(`${host}.apps.localhost`)
    expect(location).not.toMatch(/^[/\\]{2}|[\0-\x20]/)
  })
})

test.each(['\t', '\f', '\x01', '\x0b', '\x1b', '\x7f', '\0', '\r', '\n', ' '])(
  'E10: a path with the character %j is no path, or reaches the app as it is, and is one line there',
  async (character) => {
    const answer = await raw('server', `/a${character}b`, 'User-Agent: own')
    const body = /^HTTP\/1\.1 200 [\s\S]*(\{"url".*\})/.exec(answer)?.[1]
    if (body === undefined) expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    else expect(JSON.parse(body)).toMatchObject({ url: `/a${character}b`, agent: 'own' })
  },
)

test('E10: a page of ours shows nothing of a request that a browser would take for more than text', async () => {
  for (const host of ['<script>alert(1)</script>', 'a"onload=x', "a'b"]) {
    const answer = await edge.raw(
      `GET / HTTP/1.1\r\nHost: ${host}.apps.localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).not.toContain(host)
  }
})

test('E10: a log line stays one line, whatever a client or an app has put into it', () => {
  const written: string[] = []
  const log = createLog('proxy', (line) => written.push(line))
  const agent = 'Mozilla\r\n{"level":50,"msg":"forged"}\n\x1b[2J\x1b]8;;http://evil.com\x07"\\\u2028\u202e\0'
  log.info({ agent, path: '/%0d%0a', err: new Error(agent, { cause: agent }) }, 'app request failed')
  expect(written).toHaveLength(1)
  expect(written[0]?.trimEnd()).not.toMatch(/[\r\n\x1b\x07\0]/)
  expect(JSON.parse(written[0] ?? '')).toMatchObject({ agent, msg: 'app request failed' })
})

test('E10: an app gets a user agent as it is, and no byte of it as anything else', async () => {
  const agent = `Mozilla "quoted" \\ 'x' {"level":50} ;a=b`
  const answer = await raw('server', '/', `User-Agent: ${agent}`)
  expect(JSON.parse(answer.slice(answer.indexOf('{"url'), answer.lastIndexOf('}') + 1)).agent).toBe(agent)
  for (const control of ['\x1b[31m', '\0', '\x07', 'a\rb'])
    expect(await raw('server', '/', `User-Agent: ${control}`)).toMatch(/^HTTP\/1\.1 400 /)
})

describe('variables of an app that steer programs', () => {
  test.each([
    ['NODE_OPTIONS', '--require=/no/such.cjs'],
    ['NODE_OPTIONS', '--no-such-option'],
    ['LD_PRELOAD', '/no/such.so'],
    ['LD_LIBRARY_PATH', '/tmp'],
    ['PATH', '/nowhere'],
    ['HOME', '/etc'],
    ['NODE_PATH', '/tmp'],
    ['SSL_CERT_FILE', '/no/such.pem'],
    ['BASH_ENV', '/no/such.sh'],
  ])('I6: %s=%s is its own business: it serves or it does not, and all others do', async (name, value) => {
    const key = await loadKey(edge.config)
    const { edgePids } = edge
    const before = JSON.parse((await edge.ask('server', '/')).body).pid
    await using traffic = new Traffic(edge.port, edge.hostOf('server'), '/')
    for (const kind of ['server', 'process'] as const) {
      const app = `own-${kind}-${name.toLowerCase().replaceAll('_', '-')}-${value.length}`
      await createApp(edge.sql, { id: app, by: 'test' })
      await setEnv(edge.sql, { app, environment: 'production' }, { values: { [name]: value }, by: 'test', key })
      const bundle = { kind, server: { 'index.mjs': server }, ...(kind === 'process' && { start: 'node index.mjs' }) }
      const outcome = await edge.prepare(app, bundle).then(
        () => 'serves',
        (error: Error) => error.message,
      )
      // What fails says that the app failed; nothing of the platform's own could not be started.
      if (outcome !== 'serves')
        expect(outcome).toMatch(/^(node index\.mjs|.*index\.mjs)[\s\S]* (exited with|ended|could not)/)
    }
    await traffic.stop()
    expect(traffic.failures).toEqual([])
    expect(edge.edgePids).toEqual(edgePids)
    expect(JSON.parse((await edge.ask('server', '/')).body).pid).toBe(before)
  })
})
