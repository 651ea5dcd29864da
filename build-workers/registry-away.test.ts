import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { TestWorker } from '../test/support/build-worker.ts'
import { archivedFile, endOfArchive } from './archive.ts'

// A registry with one package, which can be made to fail as registries do.
const packageJson = Buffer.from(JSON.stringify({ name: 'greeting', version: '1.0.0', main: 'index.js' }))
const tarball = gzipSync(
  Buffer.concat([
    archivedFile('package/package.json', packageJson),
    archivedFile('package/index.js', Buffer.from('module.exports = "hello"')),
    endOfArchive,
  ]),
)
const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`

type Failure = 'answers 503' | 'says nothing' | 'hangs up'
let failure: Failure = 'answers 503'
let failuresLeft = 0
let asked = 0
const registry = createServer((request, response) => {
  asked += 1
  if (failuresLeft-- > 0) fail(request, response)
  else if (request.url === '/greeting.tgz') response.end(tarball)
  else response.end(JSON.stringify(packument()))
})
registry.listen(0, '127.0.0.1')
await once(registry, 'listening')
const { port } = registry.address() as AddressInfo
const address = `http://127.0.0.1:${port}/`

const worker = await TestWorker.start(
  {},
  { npm: async () => ({ registry: address, cafile: null, extraCa: null, proxies: { http: null, https: null } }) },
)
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  registry.closeAllConnections()
  registry.close()
})
beforeEach(() => {
  asked = 0
})

// As patient as ever, in less time.
const patience = {
  npm_config_fetch_retries: '2',
  npm_config_fetch_retry_mintimeout: '50',
  npm_config_fetch_retry_maxtimeout: '100',
  npm_config_fetch_timeout: '5000',
}
const app = (word: string) => ({
  'atelier.config.json': { build: { env: patience } },
  'package.json': { scripts: { start: 'node server.js' }, dependencies: { greeting: '1.0.0' } },
  'server.js': `require("http").createServer((q, s) => s.end(require("greeting") + "${word}")).listen(process.env.PORT)`,
})

test.each<Failure>(['answers 503', 'says nothing', 'hangs up'])(
  'a registry that %s for a moment is asked again, and nobody notices',
  async (kind) => {
    failure = kind
    failuresLeft = 1
    const built = await worker.deploy(await worker.createApp(), app(kind))
    expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
    expect(asked).toBeGreaterThan(2)
  },
)

test.each<Failure>(['answers 503', 'says nothing', 'hangs up'])(
  'a registry that %s for good is asked several times; the push says so, and what is live stays',
  async (kind) => {
    const id = await worker.createApp()
    failuresLeft = 0
    const live = await worker.deploy(id, app('one'))
    expect(live.deployment).toMatchObject({ state: 'live', stateReason: null })

    failure = kind
    failuresLeft = 1e6
    asked = 0
    const files = app('two')
    const dependencies = { greeting: '1.0.0', 'another-one': '1.0.0' }
    const built = await worker.deploy(id, { ...files, 'package.json': { ...files['package.json'], dependencies } })
    expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'INSTALL_FAILED' })
    expect(built.deployment.stateReason, built.log.join('\n')).toMatch(
      /^install failed: the package registry does not answer \(\w+\), though it was asked several times; what is live stays live/,
    )
    expect(asked).toBeGreaterThan(2)
    expect((await worker.read(live.deployment)).deployment.state).toBe('live')
  },
)

function fail({ socket }: IncomingMessage, response: ServerResponse): void {
  if (failure === 'answers 503') response.writeHead(503).end()
  else if (failure === 'hangs up') socket.destroy()
}

function packument(): object {
  const dist = { tarball: `${address}greeting.tgz`, integrity }
  const version = { name: 'greeting', version: '1.0.0', main: 'index.js', dist }
  return { name: 'greeting', 'dist-tags': { latest: '1.0.0' }, versions: { '1.0.0': version } }
}
