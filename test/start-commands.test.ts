import { once } from 'node:events'
import { request } from 'node:http'
import type { Socket } from 'node:net'
import { expect } from 'vitest'
import { legacyAddOn } from './support/add-on.ts'
import { type Atelier, test } from './support/atelier.ts'
import { example } from './support/example.ts'
import { expectSoundHistory } from './support/history.ts'
import type { Files } from './support/repo.ts'

// Apps that no thread runs: a Procfile, a start script with a shell's words, a native add-on of the main thread.

const pkg = (content: object): Files => ({ 'package.json': JSON.stringify({ private: true, ...content }) })
const server = (answer: string): string =>
  `require('http').createServer((request, response) => ${answer}).listen(process.env.PORT)\n`

test('a Procfile is run as it stands, and its WebSockets pass', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('heroic'))
  const procfile = (await example('procfile'))['Procfile']
  await repo.commit({
    ...(await example('procfile')),
    Procfile: `${procfile}worker: node work.js\r\nrelease: node x\r\n`,
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(
    expect.stringMatching(
      / · Start command detected \(Procfile: node --expose-gc server\.js "\$\{GREETING:-Hello\} from a Procfile"\)$/,
    ),
  )
  expect(remote).toContain('       runs as a process, for the start command needs a shell')
  expect(remote).toContain('       worker:, release: of the Procfile are not run; only web: is')
  expect(await atelier.get('heroic', '/')).toMatchObject({ status: 200, body: 'Hello from a Procfile' })
  expect(await atelier.get('heroic', '/gc')).toMatchObject({ status: 200 })

  const socket = await webSocket(atelier, 'heroic')
  for (const text of ['ping', 'x'.repeat(1_000_000)]) {
    socket.write(text)
    let heard = ''
    while (heard.length < text.length) heard += (await once(socket, 'data'))[0]
    expect(heard === text).toBe(true)
  }
  socket.destroy()

  const set = await atelier.cli(['env', 'set', 'GREETING=Servus', '--app', 'heroic', '--redeploy'])
  expect(set).toMatchObject({ code: 0 })
  await expect.poll(async () => (await atelier.get('heroic', '/')).body).toBe('Servus from a Procfile')
})

test('a start script with a pipeline is replaced under load without failing a request', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('piped'))
  const version = (name: string): Files => ({
    ...pkg({ scripts: { start: `echo version ${name} && node server.js 2>&1 | sed -u 's/^/app: /'` } }),
    'server.js': `console.log('up'); ${server(`setTimeout(() => response.end('${name}'), 20)`)}`,
  })
  await repo.commit(version('one'))
  expect((await repo.push()).remote).toContainEqual(
    expect.stringMatching(/ · Start command detected \(start script: echo version one && node/),
  )
  await using traffic = atelier.keepRequesting('piped', '/')
  await expect.poll(() => traffic.bodiesSeen).toEqual(['one'])
  const two = await repo.commit(version('two'))
  await repo.push('--push-option=canary=skip')
  await expect.poll(() => traffic.bodiesSeen).toEqual(['one', 'two'])
  expect((await atelier.cli(['rollback'], { cwd: repo.directory })).code).toBe(0)
  await expect.poll(async () => (await atelier.get('piped', '/')).body).toBe('one')
  expect((await atelier.cli(['rollback', two.slice(0, 7)], { cwd: repo.directory })).code).toBe(0)
  await expect.poll(async () => (await atelier.get('piped', '/')).body).toBe('two')
  await traffic.stop()
  expect(traffic.failures).toEqual([])
  await expect
    .poll(async () => (await atelier.cli(['logs', 'piped'])).stdout)
    .toMatch(/version one\n[\s\S]*app: up\n[\s\S]*version two\n/)
})

test('an app that a thread cannot hold runs as a process, and the push says why', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('legacy'))
  await repo.commit({
    ...pkg({ scripts: { start: 'node server.js' }, dependencies: { '@node-rs/crc32': '1.10.8' } }),
    'build/legacy.node': await legacyAddOn(),
    'server.js': `
      require('./build/legacy.node')
      const { crc32 } = require('@node-rs/crc32')
      ${server(`response.end(String(crc32('atelier')))`)}`,
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · Node server detected \(start script: node server\.js\)$/))
  const reason = remote.find((line) => line.includes('runs as a process'))
  expect(reason).toMatch(
    /^ {7}runs as a process, for a thread cannot hold it: legacy\.node cannot be loaded in a worker thread \(Module did not self-register: .*\)$/,
  )
  expect(remote).toContainEqual(expect.stringMatching(/GET \/ → 200 /))
  expect(await atelier.get('legacy', '/')).toMatchObject({ status: 200, body: String(crcOf('atelier')) })

  // Said beforehand, it is not tried in a thread at all; and a thread that is insisted on fails.
  await repo.commit({ 'atelier.config.json': '{ "build": { "kind": "process" } }' })
  const again = await repo.push()
  expect(again.remote).toContain('       runs as a process, as build.kind in atelier.config says')
  expect(again.stderr).not.toContain('a thread cannot hold it')
  await repo.commit({ 'atelier.config.json': '{ "build": { "kind": "server" } }' })
  expect((await repo.tryPush()).stderr).toMatch(
    /\(node server\.js exited with 1: legacy\.node cannot be loaded in a worker thread/,
  )
  expect((await atelier.get('legacy', '/')).status).toBe(200)
})

test('whatever way a process ends, it comes back', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('restless'))
  const ends = {
    exit: 'process.exit(0)',
    kill: "process.kill(process.pid, 'SIGKILL')",
    abort: 'process.abort()',
    parent: "process.kill(process.ppid, 'SIGKILL')",
    throw: "setImmediate(() => { throw new Error('oh') })",
  }
  await repo.commit({
    Procfile: 'web: node --no-warnings server.js',
    'server.js': `const ends = {${Object.entries(ends).map(([name, code]) => `${name}: () => { ${code} }`)}}
      ${server(`{ const end = ends[request.url.slice(1)]; end ? end() : response.end('up ' + process.pid) }`)}`,
  })
  await repo.push()
  for (const way of Object.keys(ends)) {
    expect((await atelier.get('restless', `/${way}`)).status, way).toBe(502)
    await expect
      .poll(() => atelier.get('restless', '/'), { timeout: 20_000, message: way })
      .toMatchObject({ status: 200, body: expect.stringMatching(/^up \d+$/) })
  }
  const log = () => atelier.cli(['logs', 'restless'])
  for (const words of ['exited with 0;', 'was ended by SIGKILL;', 'was ended by SIGABRT;', 'Error: oh;'])
    await expect
      .poll(async () => (await log()).stdout)
      .toContain(`server.js ${/^[ew]/.test(words) ? '' : 'exited with 1: '}${words}`)
})

test('a crash loop slows down, says so, and ends with the next good version', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('looping'))
  const files = (code: string): Files => ({
    Procfile: 'web: node --no-warnings server.js',
    'server.js': `${code}\n${server(`response.end('up')`)}`,
  })
  await repo.commit(files('setTimeout(() => process.exit(5), 1200)'))
  await repo.push()
  await expect
    .poll(async () => (await atelier.cli(['logs', 'looping'])).stdout, { timeout: 30_000 })
    .toMatch(
      /node --no-warnings server\.js exited with 5; it is started again now[\s\S]*it is started again in 1 s[\s\S]*in 2 s/,
    )
  await repo.commit(files(''))
  await repo.push()
  expect(await atelier.get('looping', '/')).toMatchObject({ status: 200, body: 'up' })
})

test.for<[string, Files, string]>([
  [
    'an empty web: line',
    { Procfile: 'web:\r\n' },
    'the web: line of the Procfile names no command; write one, such as web: node server.js',
  ],
  [
    'a program that is there for development only',
    { ...pkg({ scripts: { start: 'ts-node -T a.ts && b' } }) },
    'ts-node -T a.ts && b exited with 127: there is no program ts-node; a package that brings it has to be in "dependencies" of package.json, for "devDependencies" are left out',
  ],
  [
    'a program in the background',
    { Procfile: 'web: node server.js &\n', 'server.js': server(`response.end('hi')`) },
    'node server.js & exited with 0 before it listened, and left a program in the background: a start command has to stay in front',
  ],
  [
    'a wrong kind',
    { 'atelier.config.json': '{ "build": { "kind": "thread" } }', 'index.html': '' },
    "atelier.config.json: build.kind: must be 'server' or 'process', not 'thread'",
  ],
])('%s is refused with what to do', async ([, files, reason], { atelier }) => {
  const repo = await atelier.clone(await atelier.createApp())
  await repo.commit(files)
  expect((await repo.tryPush()).stderr).toContain(` ! [remote rejected] main -> main (${reason})\n`)
})

test('a port written into the app is used where every app has a network of its own, and the push says so', async ({
  atelier,
}) => {
  const repo = await atelier.clone(await atelier.createApp('stubborn'))
  const files = (answer: string): Files => ({
    Procfile: 'web: node --no-warnings server.js',
    'server.js': `require('http').createServer((request, response) => response.end('${answer}')).listen(8099)`,
  })
  await repo.commit(files('one'))
  const pushed = await repo.tryPush()
  const isAlone = pushed.code === 0
  if (isAlone) {
    expect(pushed.remote).toContainEqual(
      expect.stringContaining('the app listens on port 8099 and not on PORT (3000); port 8099 is used'),
    )
    await repo.commit(files('two'))
    await repo.push()
    expect(await atelier.get('stubborn', '/')).toMatchObject({ status: 200, body: 'two' })
  } else {
    expect(pushed.stderr).toMatch(
      /did not listen on PORT \(\d+\) within 30 s; it listens on port 8099: take the port from/,
    )
  }
})

test('a Procfile without a web: line is no start command', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('pages'))
  await repo.commit({ Procfile: 'worker: node work.js\n', 'index.html': 'hi' })
  expect((await repo.push()).remote).toContain('       worker: of the Procfile is not run, and there is no web: line')
  expect((await atelier.get('pages', '/')).body).toBe('hi')
})

test('after all of this the history is sound', ({ atelier }) => expectSoundHistory(atelier, []))

async function webSocket(atelier: Atelier, app: string): Promise<Socket> {
  const asked = request({
    ...{ host: '127.0.0.1', port: atelier.port, agent: false },
    headers: {
      host: `${app}.apps.localhost:${atelier.port}`,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    },
  }).end()
  const [response, socket] = await once(asked, 'upgrade')
  expect(response.headers['sec-websocket-accept']).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
  return socket.setEncoding('latin1')
}

function crcOf(text: string): number {
  let crc = 0xffffffff
  for (const byte of Buffer.from(text)) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return ~crc >>> 0
}
