import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAppLog } from '../../registry/app-logs.ts'
import { processesSaying } from '../../sandbox/throw-away-home.ts'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge
let platformProcess: ChildProcess
const canary = `canary-${randomBytes(16).toString('hex')}`

// Everything a tenant's thread can try on its own process, and on what is beyond.
const hostile = `
import { execFileSync } from 'node:child_process'
import { closeSync, copyFileSync, openSync, readFileSync, readSync, readdirSync, truncateSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

const pattern = /canary-[0-9a-f]{32}/g
const secrets = (text) => [...new Set(text.match(pattern) ?? [])]
const held = []
// Its own secret, which the search has to find.
const own = Buffer.from('canary-' + 'f'.repeat(32), 'latin1')
const tries = {
  '/pid': () => String(process.pid),
  // From a thread of its own making, which the platform has not dressed up as a process.
  async '/inspector'() {
    const look = "const { Session } = require('node:inspector/promises'); const session = new Session(); session.connectToMainThread(); " +
      "const expression = 'JSON.stringify([process.env, process.argv, process.execArgv])'; " +
      "session.post('Runtime.evaluate', { expression }).then(({ result }) => require('node:worker_threads').parentPort.postMessage(result.value))"
    // Waiting for an answer of the inspector does not keep a thread alive.
    const spy = new Worker('setInterval(() => {}, 1000); ' + look, { eval: true })
    const [seen] = await once(spy, 'message')
    await spy.terminate()
    return JSON.stringify({ secrets: secrets(String(seen)), read: String(seen).includes('isolate-boot') })
  },
  '/memory'() {
    const found = []
    const memory = openSync('/proc/self/mem', 'r')
    for (const line of readFileSync('/proc/self/maps', 'latin1').split('\\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
      if (!from) continue
      const size = Math.min(parseInt(to, 16) - parseInt(from, 16), 8_000_000)
      try {
        const chunk = Buffer.alloc(size)
        readSync(memory, chunk, 0, size, parseInt(from, 16))
        found.push(...secrets(chunk.toString('latin1')))
      } catch {}
    }
    closeSync(memory)
    const others = found.filter((text) => text !== own.toString('latin1'))
    return JSON.stringify({ secrets: others, read: others.length < found.length })
  },
  '/environments'() {
    const texts = readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).map((pid) => {
      try { return readFileSync('/proc/' + pid + '/environ', 'latin1') } catch { return '' }
    })
    return JSON.stringify({ secrets: secrets(texts.join()), read: texts.some((text) => text.includes('PATH')) })
  },
  // The line to the platform's main process is a descriptor of this process like any other.
  '/control'() {
    const thing = '{"toString":1,"valueOf":1}'
    const lies = [
      '{"error":{"name":' + thing + ',"message":' + thing + ',"stack":' + thing + ',"code":' + thing + ',"unset":[' + thing + ']}}',
      '{"port":' + thing + '}', '{"listening":' + thing + ',"speaks":' + thing + '}', '{"daemon":1}',
      '{"listeners":{"tcp":[{"address":' + thing + ',"port":' + thing + '},null,1],"unix":[' + thing + ']}}', '{"listeners":[]}',
      '{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"admin":true}}}', '{"error":{"__proto__":{"admin":true}}}',
      'null', '1', '"listening"', '[]', 'no json', '{'.repeat(1000), '\\0\\ud800',
    ]
    const fd = Number(/"controlFd":(\\d+)/.exec(readFileSync('/proc/self/cmdline', 'latin1'))[1])
    let written = 0
    for (const lie of lies) written += writeSync(fd, lie + '\\n')
    return String(written)
  },
  '/kill': () => new Promise(() => process.kill(process.pid, 'SIGKILL')),
  '/fault': () => new Promise(() => process.kill(process.pid, 'SIGSEGV')),
  // A library that ends in the middle: the dynamic linker touches a page that is not there.
  '/dlopen'() {
    const library = process.report.getReport().sharedObjects.find((path) => /libstdc|libm\\.so|libm-/.test(path))
    const half = join(tmpdir(), 'half.node')
    copyFileSync(library, half)
    truncateSync(half, Math.floor(readFileSync(library).length / 2))
    process.dlopen({ exports: {} }, half)
    return 'it was loaded'
  },
  '/buffers'() { for (;;) held.push(Buffer.alloc(16_000_000, 1)) },
  '/heap'() { for (let i = 0; ; i++) held.push({ i, text: 'x' + i, more: [i, i, i] }) },
  '/spin'() { for (;;) {} },
  '/slow': () => new Promise((resolve) => setTimeout(() => resolve('slow'), 4000)),
  '/born': () => born,
  '/fifo'() {
    const fifo = join(tmpdir(), 'fifo-' + process.pid)
    execFileSync('/usr/bin/mkfifo', [fifo])
    return readFileSync(fifo, 'utf8')
  },
}
const born = process.hrtime.bigint().toString()
createServer(async (request, answer) => {
  try {
    answer.end(await (tries[request.url] ?? (() => 'fine'))())
  } catch (error) {
    answer.statusCode = 599
    answer.end(error.stack)
  }
}).listen(3000)
`

beforeAll(async () => {
  database = await createDatabase()
  process.env['ATELIER_TEST_SECRET'] = canary
  const limits = { headTimeoutMs: 5_000, idleTimeoutMs: 5_000, stopGraceMs: 500 }
  edge = await TestEdge.start(database.url, {
    limits,
    env: { ATELIER_APP_MEMORY_MB: '256', ATELIER_TEST_SECRET: canary },
  })
  platformProcess = spawn('/bin/sleep', ['600'], { env: { DATABASE_URL: canary }, stdio: 'ignore' })
  const good = `import { createServer } from 'node:http'\ncreateServer((_, answer) => answer.end('fine')).listen(3000)`
  await edge.deploy('good', { kind: 'server', server: { 'index.mjs': good } })
})

afterAll(async () => {
  delete process.env['ATELIER_TEST_SECRET']
  platformProcess?.kill()
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

/** Asks the neighbour again and again; disposing of it proves that it never failed and never changed its process. */
function neighbour(): AsyncDisposable {
  let isOver = false
  const statuses = new Set<number>()
  const asking = (async () => {
    while (!isOver) {
      statuses.add((await edge.ask('good', '/')).status)
      // It is to be a neighbour, not another attack.
      await pause(5)
    }
  })()
  return {
    async [Symbol.asyncDispose]() {
      isOver = true
      await asking
      expect([...statuses]).toEqual([200])
    },
  }
}

async function deployHostile(app: string, drainTimeoutSec = 30) {
  const bundle = { kind: 'server' as const, server: { 'index.mjs': hostile }, drain_timeout_sec: drainTimeoutSec }
  return edge.deploy(app, bundle)
}

describe('I2: a thread that turns on its own process', () => {
  test.each(['/inspector', '/memory', '/environments'])('finds no secret but its own by %s', async (path) => {
    await deployHostile('spy')
    await using _ = neighbour()
    const { status, body } = await edge.ask('spy', path)
    expect(status, body).toBe(200)
    // It did look: otherwise it would prove nothing that it found nothing.
    expect(JSON.parse(body)).toEqual({ secrets: [], read: true })
  })

  test.each(['/kill', '/fault', '/dlopen'])(
    'ends its own app by %s, which is back at once, and nothing else',
    async (path) => {
      const app = `ends-${path.slice(1)}`
      await deployHostile(app)
      await using _ = neighbour()
      const before = (await edge.ask(app, '/pid')).body
      expect((await edge.ask(app, path)).status).toBe(502)
      // Requests wait for the process that comes next.
      const after = await edge.ask(app, '/pid')
      expect(after.status).toBe(200)
      expect(Number(after.body)).toBeGreaterThan(0)
      expect(before).not.toBe('')
    },
  )
})

test('I7, I2: a thread that lies to the platform on the line it reports on is not believed, and hurts itself at most', async () => {
  await deployHostile('liar')
  await using _ = neighbour()
  const before = edge.edgePids
  const written = await edge.ask('liar', '/control').then(
    ({ body }) => Number(body),
    () => 0,
  )
  expect(written).toBeGreaterThan(1000)
  await expect.poll(async () => (await edge.ask('liar', '/')).status).toBe(200)
  expect(edge.edgePids).toEqual(before)
  expect(Reflect.get({}, 'admin')).toBeUndefined()
  // What the platform knew of its isolate still holds: a new version replaces it.
  await deployHostile('liar')
  expect(await edge.ask('liar', '/')).toMatchObject({ status: 200 })
})

describe('I3: a thread that takes all it can get', () => {
  test.each(['/spin', '/fifo'])(
    '%s is noticed while requests wait, and the app is back in a new process',
    async (path) => {
      await using own = await createDatabase()
      await using watched = await TestEdge.start(own.url, {
        limits: { stuckAfterMs: 3_000, useLookMs: 50, useReportMs: 50 },
        env: { ATELIER_APP_MEMORY_MB: '256' },
      })
      await watched.deploy('stuck', { kind: 'server', server: { 'index.mjs': hostile } })
      // What is only slow is not stuck.
      const slow = await watched.ask('stuck', '/slow')
      expect(slow).toMatchObject({ status: 200, body: 'slow' })
      const before = (await watched.ask('stuck', '/born')).body
      expect((await watched.ask('stuck', path)).status).toBe(502)
      const after = await watched.ask('stuck', '/born')
      expect(after.status).toBe(200)
      expect(after.body).not.toBe(before)
      await expect
        .poll(async () => (await readAppLog(watched.sql, 'stuck')).map(({ text }) => text))
        .toContainEqual(expect.stringContaining('its thread was stuck'))
    },
  )

  test('a process that takes no connection any more is noticed while requests wait; one that serves a single visitor is not', async () => {
    await using own = await createDatabase()
    await using watched = await TestEdge.start(own.url, {
      limits: { stuckAfterMs: 3_000, useLookMs: 50, useReportMs: 50 },
    })
    // As a program in another language, with one visitor at a time: it says something now and then, and takes nobody else.
    const blocking = `
import { writeSync } from 'node:fs'
import { createServer } from 'node:net'
const born = process.hrtime.bigint().toString()
const head = (length) => 'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: ' + length + '\\r\\n\\r\\n'
const spin = (ms) => { for (const until = performance.now() + ms; performance.now() < until; ); }
createServer((socket) => {
  socket.on('error', () => undefined)
  socket.once('data', (chunk) => {
    const path = String(chunk).split(' ')[1]
    if (path === '/spin') {
      console.log('spins')
      spin(Infinity)
    }
    if (path !== '/one') return socket.end(head(born.length) + born)
    writeSync(socket._handle.fd, head(10))
    for (let turn = 0; turn < 10; turn++) {
      spin(500)
      writeSync(socket._handle.fd, '.')
    }
    socket.end()
  })
}).listen(process.env.PORT)`
    await watched.deploy('process', { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': blocking } })
    const { body: before } = await watched.ask('process', '/')
    const [one, beside] = await Promise.all([watched.ask('process', '/one'), watched.ask('process', '/')])
    expect(one.body).toBe('..........')
    expect(beside.body).toBe(before)

    const spinning = watched.ask('process', '/spin')
    const said = async () => (await readAppLog(watched.sql, 'process')).map(({ text }) => text)
    await expect.poll(said).toContain('spins')
    const [stuck, waits] = await Promise.all([spinning, watched.ask('process', '/')])
    expect([stuck.status, waits.status]).toEqual([502, 502])
    // Who comes while the stuck one is being ended may still be lost with it; once it is said to have ended, nobody is.
    await expect.poll(said).toContainEqual(expect.stringContaining('it was stuck: it took no connection'))
    const after = await watched.ask('process', '/')
    expect(after.status).toBe(200)
    expect(after.body).not.toBe(before)
  })

  test.each(['/buffers', '/heap'])('%s ends its own app, which is back at once', async (path) => {
    const app = `eats-${path.slice(1)}`
    await deployHostile(app)
    await using _ = neighbour()
    expect([502, 504]).toContain((await edge.ask(app, path)).status)
    await expect.poll(async () => (await edge.ask(app, '/')).status).toBe(200)
  })

  test.each(['/spin', '/fifo'])(
    '%s costs its own app alone; the next version serves, and the stuck process is killed',
    async (path) => {
      const app = `stuck-${path.slice(1)}`
      const stuck = await deployHostile(app, 8)
      await using _ = neighbour()
      expect((await edge.ask(app, path)).status).toBe(504)
      expect((await edge.ask(app, '/')).status).toBe(504)
      expect(await processesSaying(stuck.id)).not.toEqual([])

      await deployHostile(app, 8)
      expect((await edge.ask(app, '/')).status).toBe(200)
      await expect.poll(() => processesSaying(stuck.id)).toEqual([])
    },
  )
})
