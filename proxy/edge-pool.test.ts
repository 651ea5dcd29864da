import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findDeployment } from '../registry/deployments.ts'
import { awaitRouteSeen } from '../registry/edges.ts'
import { goLive } from '../registry/release.ts'
import { rollBack } from '../registry/rollback.ts'
import { type Accepted, connectToEach } from '../test/support/connections.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { isAlive, processesOf } from '../test/support/processes.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2 })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

// Answers when it has the whole body: a request without its end is in flight.
const server = (name: string) => ({
  kind: 'server' as const,
  server: {
    'index.js': `import { createServer } from 'node:http'
createServer((request, response) => {
  request.resume().on('end', () => response.end('${name}'))
}).listen(process.env.PORT)`,
  },
})

/** Requests on one kept-alive connection, one after the other, until that is closed or the client is stopped. */
class Client {
  answers = 0
  hasFailed = false
  readonly pid: number
  readonly #over: Promise<void>
  #isStopped = false

  constructor({ socket, pid }: Accepted, host: string, body: string) {
    this.pid = pid
    this.#over = new Promise((resolve) => socket.once('close', () => resolve()))
    const ask = () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    let answer = ''
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1')
      if (!answer.endsWith(body)) return
      if (answer.startsWith('HTTP/1.1 200 ')) this.answers++
      else this.hasFailed = true
      answer = ''
      if (this.#isStopped) socket.end()
      else ask()
    })
    socket.on('close', () => {
      this.hasFailed ||= !this.#isStopped
    })
    ask()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#over
  }
}

test('F1: kill -9 of one edge process costs the connections it had; the other and the apps go on, and it comes back', async () => {
  await edge.deploy('hello', server('hello'))
  const hosts = () => processesOf(join(edge.config.home, 'edge/apps')).map(({ pid }) => pid)
  const hostsBefore = hosts()
  expect(hostsBefore.length).toBeGreaterThan(0)
  const [victim = 0, other = 0] = edge.edgePids
  const connections = await connectToEach(edge.port, [victim, other], 4)
  const clients = connections.map((connection) => new Client(connection, edge.hostOf('hello'), 'hello'))
  await expect.poll(() => Math.min(...clients.map(({ answers }) => answers))).toBeGreaterThan(10)

  process.kill(victim, 'SIGKILL')
  // Not when it is a zombie: its threads may hold the port for some milliseconds more.
  await expect.poll(() => edge.edgePids).not.toContain(victim)
  expect(await edge.ask('hello', '/')).toMatchObject({ status: 200, body: 'hello' })
  await expect.poll(() => edge.edgePids.filter((pid) => pid !== victim).length).toBe(2)
  const [successor = 0] = edge.edgePids.filter((pid) => pid !== other)
  const anew = await connectToEach(edge.port, [successor, other], 2)
  for (const { socket } of anew) socket.destroy()
  const before = clients.map(({ answers }) => answers)
  const living = clients.filter(({ pid }) => pid === other)
  await expect.poll(() => living.every(({ answers }) => answers > 10 + Math.min(...before))).toBe(true)
  await Promise.all(clients.map((client) => client.stop()))

  expect(living.filter(({ hasFailed }) => hasFailed)).toEqual([])
  expect(clients.filter(({ hasFailed }) => hasFailed).every(({ pid }) => pid === victim)).toBe(true)
  expect(hosts()).toEqual(hostsBefore)
})

test('an edge process that came back goes by the routes as they are now', async () => {
  const [victim = 0] = edge.edgePids
  process.kill(victim, 'SIGKILL')
  // A connection that a dying process still takes is reset.
  await expect.poll(() => edge.edgePids, { interval: 1 }).not.toContain(victim)
  const { version } = await edge.deploy('hello', server('newer'))
  await expect.poll(() => edge.edgePids.length === 2 && !edge.edgePids.includes(victim)).toBe(true)
  const clients = (await connectToEach(edge.port, edge.edgePids, 1)).map(({ socket }) => socket)
  for (const socket of clients) {
    socket.write(`GET / HTTP/1.1\r\nHost: ${edge.hostOf('hello')}\r\nConnection: close\r\n\r\n`)
    const answer = await text(socket)
    expect(answer).toContain(`x-atelier-deployment: ${version}`)
    expect(answer).toContain('newer')
  }
})

test('a flip has been seen when every edge process goes by it, and not before', async () => {
  await edge.deploy('seen', { kind: 'static', files: { 'index.html': 'old' } })
  const { id } = await edge.prepare('seen', { kind: 'static', files: { 'index.html': 'new' } })
  const [stopped = 0] = edge.edgePids
  process.kill(stopped, 'SIGSTOP')
  await goLive(edge.sql, id, { config: edge.config, by: 'test' })
  expect(await awaitRouteSeen(edge.sql, id, { timeoutMs: 300 })).toBe(false)
  process.kill(stopped, 'SIGCONT')
  expect(await awaitRouteSeen(edge.sql, id, { timeoutMs: 20_000 })).toBe(true)
  expect(isAlive(stopped)).toBe(true)
})

test('a replaced version keeps running until its last request in any edge process has ended', async () => {
  const { id } = await edge.deploy('drains', server('first'))
  const sockets = (await connectToEach(edge.port, edge.edgePids, 1)).map(({ socket }) => socket)
  for (const socket of sockets)
    socket.write(`POST / HTTP/1.1\r\nHost: ${edge.hostOf('drains')}\r\nContent-Length: 2\r\nConnection: close\r\n\r\na`)
  const hosts = () => processesOf(join(edge.config.home, 'edge/apps/drains', id)).length
  expect(hosts()).toBeGreaterThan(0)
  await edge.deploy('drains', server('second'))

  const [last, ...others] = sockets
  for (const socket of others) {
    socket.write('b')
    expect(await text(socket)).toContain('first')
  }
  expect(await edge.ask('drains', '/')).toMatchObject({ body: 'second' })
  expect(hosts()).toBeGreaterThan(0)
  if (!last) throw new Error('there was no connection')
  last.write('b')
  expect(await text(last)).toContain('first')
  await expect.poll(hosts).toBe(0)
})

test('a rollback while the replaced version drains goes to the host that still lives', async () => {
  const first = await edge.deploy('undone', server('first'))
  const hosts = () => processesOf(join(edge.config.home, 'edge/apps/undone', first.id)).map(({ pid }) => pid)
  const before = hosts()
  const [one] = await connectToEach(edge.port, edge.edgePids, 1)
  if (!one) throw new Error('there was no connection')
  one.socket.write(
    `POST / HTTP/1.1\r\nHost: ${edge.hostOf('undone')}\r\nContent-Length: 2\r\nConnection: close\r\n\r\na`,
  )
  await edge.deploy('undone', server('second'))
  const target = await findDeployment(edge.sql, first.id)
  if (!target) throw new Error('the first deployment is gone')
  await rollBack(edge.sql, target, { by: 'test' })
  expect(await awaitRouteSeen(edge.sql, first.id, { timeoutMs: 20_000 })).toBe(true)
  expect(await edge.ask('undone', '/')).toMatchObject({ status: 200, body: 'first' })

  // What was in flight ends, and with it the drain that is no longer wanted.
  one.socket.write('b')
  expect(await text(one.socket)).toContain('first')
  expect(await edge.ask('undone', '/')).toMatchObject({ status: 200, body: 'first' })
  expect(hosts()).toEqual(before)
})

test('an edge process that died keeps no replaced version running', async () => {
  const { id } = await edge.deploy('widow', server('first'))
  const [one] = await connectToEach(edge.port, edge.edgePids, 1)
  one?.socket.write(`POST / HTTP/1.1\r\nHost: ${edge.hostOf('widow')}\r\nContent-Length: 2\r\n\r\na`)
  const hosts = () => processesOf(join(edge.config.home, 'edge/apps/widow', id)).length
  await edge.deploy('widow', server('second'))
  expect(hosts()).toBeGreaterThan(0)
  process.kill(one?.pid ?? 0, 'SIGKILL')
  await expect.poll(hosts).toBe(0)
})

test('F14: an edge process whose event loop is blocked is replaced', async () => {
  await using empty = await createDatabase()
  await using lone = await TestEdge.start(empty.url, {
    edges: 2,
    limits: { pingEveryMs: 200, maxUnansweredPings: 15 },
  })
  await connectToEach(lone.port, lone.edgePids, 1)
  const [blocked = 0, other = 0] = lone.edgePids
  process.kill(blocked, 'SIGSTOP')
  await expect.poll(() => isAlive(blocked)).toBe(false)
  await expect.poll(() => lone.edgePids.filter((pid) => pid !== blocked).length).toBe(2)
  expect(lone.edgePids).toContain(other)
  expect(await lone.ask('nobody', '/')).toMatchObject({ status: 404 })
})

test('edge processes get nothing of the environment of the platform', () => {
  for (const pid of edge.edgePids) {
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .map((one) => one.split('=')[0])
    const known = ['ATELIER_HOME', 'NODE_COMPILE_CACHE', 'NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE', '']
    expect(names).toContain('ATELIER_HOME')
    expect(names.filter((name) => !known.includes(name ?? ''))).toEqual([])
  }
})
