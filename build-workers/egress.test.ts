import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { TestWorker } from '../test/support/build-worker.ts'

const opened: Server[] = []
const tarball = await packTiny()
const asked: string[] = []
const registry = await listening(
  createServer((request, response) => {
    asked.push(request.url ?? '')
    if (request.url === '/tiny/-/tiny-1.0.0.tgz') return response.end(tarball)
    const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
    const dist = { tarball: `http://localhost:${registry}/tiny/-/tiny-1.0.0.tgz`, integrity }
    const versions = { '1.0.0': { name: 'tiny', version: '1.0.0', dist } }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ name: 'tiny', 'dist-tags': { latest: '1.0.0' }, versions }))
  }),
)
const host = {
  registry: `http://localhost:${registry}/`,
  cafile: null,
  extraCa: null,
  proxies: { http: null, https: null },
}
const worker = await TestWorker.start({}, { npm: async () => host })
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  for (const server of opened) server.close()
})

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  opened.push(server)
  return (server.address() as AddressInfo).port
}

async function packTiny(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'tiny-'))
  await mkdir(join(folder, 'package'))
  await writeFile(
    join(folder, 'package/package.json'),
    JSON.stringify({ name: 'tiny', version: '1.0.0', main: 'index.js' }),
  )
  await writeFile(join(folder, 'package/index.js'), "module.exports = 'genuine'\n")
  await promisify(execFile)('tar', ['-czf', join(folder, 'tiny.tgz'), '-C', folder, 'package'])
  const bytes = await readFile(join(folder, 'tiny.tgz'))
  await rm(folder, { recursive: true })
  return bytes
}

const site = (build: string, more: object = {}) => ({
  'package.json': {
    name: 'site',
    private: true,
    dependencies: { tiny: '1.0.0' },
    scripts: { build: 'node build.js' },
    ...more,
  },
  'build.js': `${build}\nrequire('node:fs').mkdirSync('dist', { recursive: true }); require('node:fs').writeFileSync('dist/index.html', 'x')`,
  'atelier.config.json': { build: { script: 'build.js', output: 'dist' } },
})

describe('B3 a build', () => {
  test('installs from the host’s registry wherever that is, and what it downloaded is counted', async () => {
    const app = await worker.createApp()
    const built = await worker.deploy(app, site("console.log('tiny is', require('tiny'))"))
    expect(built.deployment.stateReason).toBeNull()
    expect(built.log.join('\n')).toContain('tiny is genuine')
    expect(built.log.join('\n')).toMatch(/npm install, \d+ k?B downloaded +\d+\.\d s/)
  })

  test('reaches nothing else of this host, by whichever way it asks, and its log says what it was kept from', async () => {
    const secret = await listening(createServer((_request, response) => response.end('secret')))
    const raw = await listening(createTcpServer((socket) => socket.end('secret')))
    expect(await (await fetch(`http://127.0.0.1:${secret}/`)).text()).toBe('secret')
    const script = `
      const { execFileSync } = require('node:child_process')
      const tell = (how, what) => console.log(how + ': ' + what)
      const attempts = [
        fetch('http://127.0.0.1:${secret}/').then((r) => r.text(), (e) => e.cause?.code).then((t) => tell('direct fetch', t)),
        fetch('http://127.0.0.2:${secret}/').then((r) => r.status, (e) => e.cause?.code).then((t) => tell('fetch', t)),
        fetch('https://127.0.0.3/latest/meta-data/').then((r) => r.status, (e) => e.cause?.message).then((t) => tell('metadata', t)),
        new Promise((done) => require('node:net').connect(${raw}, '127.0.0.1').on('error', (e) => done(tell('socket', e.code))).on('data', (t) => done(tell('socket', t)))),
      ]
      process.exitCode = 0
    `
    const built = await worker.deploy(await worker.createApp(), site(script))
    const text = built.log.join('\n')
    expect(text).not.toContain('secret')
    expect(text).toContain('direct fetch: ECONNREFUSED')
    expect(text).toContain('socket: ECONNREFUSED')
    expect(text).toContain('fetch: 403')
    expect(text).toMatch(/metadata: (?!200)/)
    expect(text).toContain(
      `network: 127.0.0.2:${secret} is a loopback address; to let builds reach it, name it in ATELIER_EGRESS_ALLOW on the server`,
    )
    expect(text).toContain('network: 127.0.0.3:443 is a loopback address;')
  })

  test('whose own .npmrc names a registry out of reach is told why npm cannot reach it', async () => {
    const files = { ...site(''), '.npmrc': '@corp:registry=https://127.0.0.9/\nfetch-retries=0\n' }
    const built = await worker.deploy(await worker.createApp(), {
      ...files,
      'package.json': { dependencies: { '@corp/other': '1.0.0' } },
    })
    const text = built.log.join('\n')
    expect(text).toContain(
      'network: 127.0.0.9:443 is a loopback address; to let builds reach it, name it in ATELIER_EGRESS_ALLOW',
    )
    expect(text).toMatch(/npm error .*127\.0\.0\.9.*ATELIER_EGRESS_ALLOW/)
  })
})

test('B9 what one app’s build leaves in its package cache, no other app’s build sees', async () => {
  const poison = `
    const { readdirSync, writeFileSync, existsSync } = require('node:fs')
    const { join, dirname } = require('node:path')
    const cache = process.env.npm_config_cache
    const content = readdirSync(join(cache, '_cacache'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    for (const entry of content) writeFileSync(join(entry.parentPath, entry.name), 'poison')
    console.log('poisoned', content.length > 0)
    const apps = [1, 2, 3, 4, 5].reduce((path) => dirname(path), cache)
    let others = 'closed'
    try { others = readdirSync(apps).join() } catch (error) { others = error.code }
    console.log('others', others)
    for (const place of ['../tools', 'OTHER/downloads', 'OTHER/downloads/npm', 'OTHER/modules'])
      try { writeFileSync(join(apps, place, 'poison'), 'x'); console.log('wrote to', place) } catch (error) { console.log(place, error.code) }
  `
  const victim = await worker.createApp()
  await worker.deploy(victim, site("console.log('tiny is', require('tiny'))"))
  const attacker = await worker.createApp()
  // As if it had seen the other's folder, whose name nobody can guess.
  const generation = await readFile(join(worker.home, 'cache/apps', victim, 'production/generation'), 'utf8')
  const attack = await worker.deploy(attacker, site(poison.replaceAll('OTHER', join(victim, 'production', generation))))
  const said = attack.log.join('\n')
  expect(said).toContain('poisoned true')
  expect(said).toMatch(/others (EACCES|ENOENT|EPERM)|others \S*$/m)
  expect(said).not.toContain('wrote to')

  const again = await worker.deploy(
    victim,
    site("console.log('again', require('tiny'))", { description: 'changed', version: '2.0.0' }),
  )
  expect(again.log.join('\n')).toContain('again genuine')
  asked.length = 0
  const fresh = await worker.deploy(await worker.createApp(), site("console.log('fresh', require('tiny'))"))
  expect(fresh.log.join('\n')).toContain('fresh genuine')
  expect(asked).toContain('/tiny/-/tiny-1.0.0.tgz')
})
