import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { createDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'
import { type EdgeProcesses, edgeProcesses } from '../test/support/edge-process.ts'
import { hostileFetchApp, hostileServer, pathsOf } from '../test/support/hostile-apps.ts'
import { ask } from '../test/support/http.ts'
import type { HostileClientsOptions } from './hostile-clients.ts'
import type { Row } from './measure.ts'

const soakMinutes = Number(process.env.ATELIER_SOAK_MIN ?? 10)
const everyMs = 20
// Longer than a connection to an app is kept that nobody uses, and than an edge rests before it gives memory back once more.
const settleMs = 70_000

const goodServer = `
import { createServer } from 'node:http'
const server = createServer((request, response) => {
  if (request.url === '/upload') return request.on('error', () => undefined).resume().on('end', () => response.end('whole'))
  if (request.url !== '/endless') return response.end('good')
  const chunk = Buffer.alloc(16_384)
  const more = () => { while (!response.destroyed) if (!response.write(chunk)) return response.once('drain', () => setTimeout(more, 5)) }
  more()
})
server.on('upgrade', (request, socket) => {
  socket.on('error', () => undefined)
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n')
  socket.pipe(socket)
})
server.listen(process.env.PORT)
`
const goodFetchApp = `
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === '/upload') return new Response(String((await request.arrayBuffer()).byteLength))
    if (pathname !== '/endless') return new Response('good')
    return new Response(new ReadableStream({ async pull(controller) { await new Promise((resolve) => setTimeout(resolve, 5)); controller.enqueue(new Uint8Array(16_384)) } }))
  },
}
`

/**
 * Hostile apps and hostile clients beside visitors of good apps, for ATELIER_SOAK_MIN minutes (10): what the visitors feel, and whether the edge
 * keeps its processes, memory and descriptors. Loopback only; ends by itself.
 */
export async function measureSoak(): Promise<Row[]> {
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url, { edges: 2 })
  await edge.deploy('good-server', { kind: 'server', server: { 'index.mjs': goodServer } })
  await edge.deploy('good-fetch', { kind: 'fetch', server: { 'index.mjs': goodFetchApp } })
  await edge.deploy('good-files', { kind: 'static', files: { 'index.html': 'good' } })
  await edge.deploy('bad-server', { kind: 'server', server: { 'index.mjs': hostileServer } })
  await edge.deploy('bad-process', { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': hostileServer } })
  await edge.deploy('bad-fetch', { kind: 'fetch', server: { 'index.mjs': hostileFetchApp } })

  const before = edgeProcesses(edge.port)
  const visitors = ['good-server', 'good-fetch', 'good-files'].map((app) => new Visitors(edge.port, edge.hostOf(app)))
  const seconds = soakMinutes * 60
  // Half a minute of quiet to compare with, less in a short run.
  await pause(Math.min(30, seconds / 4) * 1000)
  const quiet = visitors.map((one) => one.take())
  const begin = edgeProcesses(edge.port)

  const clients = startClients({
    ...{ port: edge.port, seconds, good: [edge.hostOf('good-server'), edge.hostOf('good-fetch')] },
    hostile: {
      [edge.hostOf('bad-server')]: [...pathsOf(hostileServer), '/never'],
      [edge.hostOf('bad-process')]: [...pathsOf(hostileServer), '/never'],
      [edge.hostOf('bad-fetch')]: [...pathsOf(hostileFetchApp), '/never'],
    },
  })
  await pause((seconds / 2) * 1000)
  const middle = edgeProcesses(edge.port)
  const acts: Record<string, number> = JSON.parse(await clients)
  const attacked = visitors.map((one) => one.take())
  await Promise.all(visitors.map((one) => one.stop()))
  await pause(settleMs)
  const end = edgeProcesses(edge.port)

  const states = [begin, middle, end]
  return [
    {
      what: `visitors' p99 during ${soakMinutes} min of attack`,
      ...{ values: attacked.flatMap(({ times }) => times), unit: 'ms', percentile: 99, target: '≤ 1.5 × without' },
      rival: { what: 'without', values: quiet.flatMap(({ times }) => times) },
    },
    {
      what: `visitors' failed requests of ${attacked.reduce((sum, { times }) => sum + times.length, 0)}`,
      ...{ values: attacked.map(({ failed }) => failed), unit: 'requests', target: '0' },
    },
    {
      what: 'edge memory: begin, middle, end',
      values: states.map(({ rssMb }) => rssMb),
      unit: 'MB',
      target: 'end ≤ begin + 50',
    },
    {
      what: 'edge descriptors: before the visitors, middle, after them',
      ...{
        values: [before, middle, end].map(({ descriptors }) => descriptors),
        unit: 'sockets',
        target: 'last ≤ first + 5',
      },
    },
    {
      what: 'edge processes that are still the same',
      values: [sameAs(begin, end)],
      unit: 'processes',
      target: `${begin.pids.length}`,
    },
    ...Object.entries(acts).map(([act, count]): Row => ({ what: `  ${act}`, values: [count], unit: 'requests' })),
  ]
}

const sameAs = (begin: EdgeProcesses, end: EdgeProcesses) => begin.pids.filter((pid) => end.pids.includes(pid)).length

async function startClients(options: HostileClientsOptions): Promise<string> {
  const clients = fork(join(import.meta.dirname, 'hostile-clients.ts'), [JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const [said] = await Promise.all([text(clients.stdout ?? process.stdin), once(clients, 'exit')])
  return said
}

/** Asks for a page at a steady rate, on kept connections. */
class Visitors {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 })
  readonly #timer: NodeJS.Timeout
  readonly #inFlight = new Set<Promise<void>>()
  #times: number[] = []
  #failed = 0

  constructor(port: number, host: string) {
    this.#timer = setInterval(() => {
      const asking = this.#ask(port, host).finally(() => this.#inFlight.delete(asking))
      this.#inFlight.add(asking)
    }, everyMs)
  }

  /** What there was since the last time. */
  take(): { times: number[]; failed: number } {
    const taken = { times: this.#times, failed: this.#failed }
    this.#times = []
    this.#failed = 0
    return taken
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#inFlight)
    this.#agent.destroy()
  }

  async #ask(port: number, host: string): Promise<void> {
    const startedAt = performance.now()
    try {
      const { status, body } = await ask(port, host, '/', { agent: this.#agent })
      if (status !== 200 || body !== 'good') this.#failed++
    } catch {
      this.#failed++
    }
    this.#times.push(performance.now() - startedAt)
  }
}
