import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { run } from './support/command.ts'
import { PushError } from './support/repo.ts'

const canary = (what: string) => `canary-${what}-${randomBytes(9).toString('hex')}`
const owner = `/tmp/at-owner-${randomBytes(4).toString('hex')}`
const planted = {
  database: canary('database'),
  redis: canary('redis'),
  store: canary('store'),
  git: canary('git'),
  key: randomBytes(32).toString('base64'),
  npmrc: canary('npmrc'),
  ssh: canary('ssh'),
  docker: canary('docker'),
  otherApp: canary('other-app'),
}

afterAll(() => rm(owner, { recursive: true, force: true }))

// As somebody starts the platform who has everything in his environment.
test.override('platformEnv', {
  HOME: owner,
  DATABASE_URL: `postgres://admin:${planted.database}@127.0.0.1/platform`,
  REDIS_URL: `redis://:${planted.redis}@127.0.0.1:6379`,
  AWS_SECRET_ACCESS_KEY: planted.store,
  GITHUB_TOKEN: planted.git,
  ATELIER_KEY: planted.key,
})

/** Prints all it can get at, as lines that a log keeps whole. */
const dump = (atelier: Atelier, mark: string) => `
const { readdirSync, readFileSync, lstatSync, writeSync } = require('node:fs')
const { gzipSync } = require('node:zlib')
const found = [JSON.stringify(process.env)]
let left = 4000
const tryTo = (what) => { try { return what() } catch (error) { return undefined } }
const take = (path) => {
  const text = tryTo(() => readFileSync(path, 'latin1'))
  if (text !== undefined) found.push(path + ': ' + text.slice(0, 100000))
}
const search = (path) => {
  const stats = tryTo(() => lstatSync(path))
  if (!stats || left-- < 0 || /\\/(postgres|pg|node_modules|compiled|usr|proc|sys)$/.test(path)) return
  found.push(path)
  if (stats.isDirectory()) for (const name of tryTo(() => readdirSync(path)) ?? []) search(path + '/' + name)
  else if (stats.isFile() && stats.size < 100000) take(path)
}
for (const pid of tryTo(() => readdirSync('/proc')) ?? [])
  if (/^\\d+$/.test(pid)) for (const name of ['environ', 'cmdline']) take('/proc/' + pid + '/' + name)
const home = process.env.HOME
for (const path of [home + '/.npmrc', home + '/.ssh', '${owner}', '/root/.npmrc', '/root/.ssh', '/home', '/var/run/docker.sock', '/run'])
  search(path)
for (const root of ['', '/proc/1/root', '/proc/self/root']) search(root + '${atelier.home}')
const said = gzipSync(found.join('\\n')).toString('base64').match(/.{1,3000}/g)
for (const part of said) for (let text = '${mark} ' + part + '\\n'; text; )
  try { text = text.slice(writeSync(1, text)) } catch (error) { if (error.code !== 'EAGAIN') throw error }
`

function readDump(lines: string[], mark: string): string {
  const parts = lines.filter((line) => line.includes(`${mark} `)).map((line) => line.replace(/^.*? ?DUMP-\w+ /, ''))
  expect(parts, `${mark} is not in ${lines.join('\n').slice(0, 3000)}`).not.toHaveLength(0)
  return gunzipSync(Buffer.from(parts.join(''), 'base64')).toString('latin1')
}

test('B1: what install and build scripts can get at holds no secret of the platform, its owner or another app', async ({
  atelier,
}) => {
  await mkdir(join(owner, '.ssh'), { recursive: true })
  await writeFile(join(owner, '.npmrc'), `//registry.example/:_authToken=${planted.npmrc}`)
  await writeFile(join(owner, '.ssh/id_ed25519'), planted.ssh)
  await writeFile(join(owner, 'docker.sock'), planted.docker)
  const secrets = { ...planted, admin: await atelier.platform.adminToken() }

  const victim = await atelier.createApp('victim')
  await atelier.api('PUT', 'apps/victim/env', { values: { STRIPE_KEY: planted.otherApp } })
  const running = await atelier.clone(victim)
  await running.commit({
    'index.js': 'export default { fetch: (request, env) => new Response(String(Object.keys(env).length)) }',
  })
  await running.push()
  expect((await atelier.get(victim, '/')).status).toBe(200)

  // The same outside the walls finds every one of them.
  const script = join(await atelier.directory({ 'dump.cjs': dump(atelier, 'DUMP-outside') }), 'dump.cjs')
  const outside = await run(process.execPath, [script], { env: { HOME: owner, PATH: process.env.PATH } })
  const everything = readDump(outside.stdout.split('\n'), 'DUMP-outside')
  for (const [what, secret] of Object.entries(secrets)) expect(everything.includes(secret), what).toBe(true)

  const thief = await atelier.createApp('thief')
  await atelier.api('PUT', 'apps/thief/env', { values: { OWN: 'own-and-for-builds' } })
  const repo = await atelier.clone(thief)
  await repo.commit({
    'package.json': JSON.stringify({
      name: 'thief',
      private: true,
      dependencies: { helper: 'file:./helper' },
      scripts: {
        postinstall: 'node dump-own.cjs',
        build: 'node dump-build.cjs && mkdir dist && echo hi > dist/index.html',
      },
    }),
    'helper/package.json': JSON.stringify({
      name: 'helper',
      version: '1.0.0',
      scripts: { postinstall: 'node dump.cjs' },
    }),
    'helper/dump.cjs': dump(atelier, 'DUMP-helper')
      .replaceAll('writeSync(1, text)', 'appendTo(text)')
      .concat(`
      function appendTo(text) { require('node:fs').appendFileSync(process.env.HOME + '/helper.txt', text); return text.length }`),
    'dump-own.cjs': dump(atelier, 'DUMP-own')
      .replaceAll('writeSync(1, text)', 'appendTo(text)')
      .concat(`
      function appendTo(text) { require('node:fs').appendFileSync(process.env.HOME + '/own.txt', text); return text.length }`),
    'dump-build.cjs': dump(atelier, 'DUMP-build').concat(`
      for (const name of ['own', 'helper']) console.log(readFileSync(process.env.HOME + '/' + name + '.txt', 'latin1'))`),
    'atelier.config.json': JSON.stringify({ build: { script: 'npm run build', output: 'dist' } }),
  })
  const { remote } = await repo.push()
  for (const mark of ['DUMP-own', 'DUMP-helper', 'DUMP-build']) {
    const seen = readDump(remote, mark)
    // It did look: its own variables are there.
    expect(seen, mark).toContain('own-and-for-builds')
    for (const [what, secret] of Object.entries(secrets)) {
      expect(seen.includes(secret), `${what}, from ${mark}`).toBe(false)
      expect(seen.includes(Buffer.from(secret).toString('base64')), `${what} as base64, from ${mark}`).toBe(false)
    }
    expect(seen.split('\n').filter((line) => /^\/(var\/)?run\/docker\.sock/.test(line))).toEqual([])
  }
})

const hostileWords = [
  '"; touch CANARY; #',
  '$(touch CANARY)',
  '`touch CANARY`',
  "'; touch CANARY; '",
  '-oProxyCommand=touch CANARY',
]

test('W3: a hostile commit message and branch reach hooks as values or not at all, and hooks see no file of the host', async ({
  atelier,
}) => {
  const place = await atelier.directory()
  const touched = join(place, 'touched')
  const said = hostileWords.join('\n').replaceAll('CANARY', touched)
  const look = `env; for file in ${join(atelier.home, 'admin-token')} ${place}/secret /etc/shadow; do cat $file && echo read $file; done; ls ${atelier.home} ${place}; echo looked`
  await writeFile(join(place, 'secret'), 'of the host')
  const hooks = { preBuild: look, postBuild: look, preDeploy: look, postDeploy: look }
  const app = await atelier.createApp('hooked')
  const repo = await atelier.clone(app)
  const files = {
    'index.html': 'hi',
    'build.sh': '#!/bin/sh\nmkdir -p dist; cp index.html dist',
    'atelier.config.json': JSON.stringify({ build: { script: 'build.sh' }, hooks }),
  }
  const sha = await repo.commit(files, said)
  const pushed = await repo.push()
  const logOf = async () => (await atelier.cli(['logs', sha.slice(0, 7), '--app', 'hooked'])).stdout
  const looks = async () => (await logOf()).match(/^ +looked$/gm)?.length
  await expect.poll(looks, { timeout: 60_000 }).toBe(4)
  const log = await logOf()
  expect(log).toContain(`VERSION=${sha}`)
  const token = await atelier.platform.adminToken()
  for (const text of [log, pushed.stderr]) {
    expect(text).not.toMatch(/^ +read \//m)
    for (const secret of [token, 'of the host', 'root:']) expect(text).not.toContain(secret)
  }

  // A branch that is more than a name is refused; what git and the gateway let through is a value.
  for (const [open, close] of [
    ['$(', ')'],
    [';', ''],
    ['`', '`'],
  ])
    await expect(repo.push(`HEAD:refs/heads/x${open}touch$IFS'${touched}'${close}`)).rejects.toThrow(PushError)
  await repo.commit({ 'index.html': 'other' }, said)
  const preview = await repo.push('HEAD:refs/heads/a-b.c_d')
  expect(preview.remote.join('\n')).toContain('ATELIER_BRANCH=a-b.c_d')
  expect(existsSync(touched)).toBe(false)
  expect(readdirSync(place)).toEqual(['secret'])
  expect(await readFile(join(place, 'secret'), 'utf8')).toBe('of the host')
})
