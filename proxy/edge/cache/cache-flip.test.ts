import { readFile } from 'node:fs/promises'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { awaitRouteSeen } from '../../../registry/edges.ts'
import { goLive } from '../../../registry/release.ts'
import { rollBack } from '../../../registry/rollback.ts'
import { cacheable, wish } from '../../../test/support/cacheable.ts'
import { createDatabase, type TestDatabase } from '../../../test/support/database.ts'
import { TestEdge } from '../../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  edge = await TestEdge.start(database.url, { edges: 2, env: { ATELIER_CACHE_MB: '8' } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

/** Clients on kept-alive connections that go on asking for cached pages, until they are stopped. */
class Readers {
  /** Answers whose body is not of the version that their head names. */
  readonly mixed: string[] = []
  readonly words: Record<string, number> = {}
  readonly versions = new Set<string>()
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 })
  readonly #working: Promise<void>[]
  #isOver = false

  constructor(app: string, targets: string[]) {
    this.#working = Array.from({ length: 8 }, () => this.#read(app, targets))
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#working)
    this.#agent.destroy()
  }

  async #read(app: string, targets: string[]): Promise<void> {
    for (let turn = 0; !this.#isOver; turn++) {
      const response = await this.#ask(app, targets[turn % targets.length] ?? '/')
      const body = await text(response)
      const version = String(response.headers['x-atelier-deployment'])
      const word = String(response.headers['x-atelier-cache'])
      this.words[word] = (this.words[word] ?? 0) + 1
      this.versions.add(version)
      if (response.statusCode !== 200 || !body.startsWith(`${version} `))
        this.mixed.push(`${response.statusCode} ${version} ${body}`)
    }
  }

  #ask(app: string, path: string): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { port } = edge
      const headers = { host: edge.hostOf(app), 'accept-encoding': 'identity' }
      const asked = httpRequest({ host: '127.0.0.1', port, agent: this.#agent, headers, path }, resolve)
      asked.on('error', reject).end()
    })
  }
}

test("through five flips and five rollbacks under load no version serves another's answers", async () => {
  // TestEdge numbers versions in the order in which they are made.
  let made = 0
  const next = () => cacheable(`1.0.${++made} `)
  const fresh = { headers: { 'cache-control': 's-maxage=600' } }
  const stale = { headers: { 'cache-control': 's-maxage=0, stale-while-revalidate=600' }, delay: 5 }
  const targets = [wish('/fresh', fresh), wish('/stale', stale), wish('/slow', { ...fresh, delay: 20 })]
  const first = await edge.deploy('flips', next())
  const readers = new Readers('flips', targets)
  for (let turn = 0; turn < 5; turn++) {
    const { id } = await edge.prepare('flips', next())
    const live = await goLive(edge.sql, id, { config: edge.config, by: 'test' })
    expect(await awaitRouteSeen(edge.sql, id, { timeoutMs: 20_000 })).toBe(true)
    for (const target of targets)
      expect((await edge.ask('flips', target)).headers['x-atelier-deployment']).toBe(live?.version)
    await expect.poll(() => readers.versions).toContain(live?.version)
    await rollBack(edge.sql, first, { by: 'test' })
    expect(await awaitRouteSeen(edge.sql, first.id, { timeoutMs: 20_000 })).toBe(true)
    expect((await edge.ask('flips', targets[0] ?? '')).body.split(' ')).toContain(first.version)
  }
  await readers.stop()
  expect(readers.mixed).toEqual([])
  expect(readers.versions.size).toBe(6)
  expect(readers.words.hit).toBeGreaterThan(100)
  expect(readers.words.stale).toBeGreaterThan(10)
})

test('an app that floods the cache does not make an edge process grow', async () => {
  await edge.deploy('flood', cacheable())
  const memory = async () => {
    const statuses = await Promise.all(edge.edgePids.map((pid) => readFile(`/proc/${pid}/status`, 'utf8')))
    return statuses.map((status) => Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
  }
  const page = (index: number) =>
    wish(`/flood-${index}`, { headers: { 'cache-control': 's-maxage=600' }, body: 'y', times: 100_000 })
  const fill = async (from: number, to: number) => {
    for (let index = from; index < to; index += 25)
      await Promise.all(Array.from({ length: 25 }, (_, more) => edge.ask('flood', page(index + more))))
  }
  await fill(0, 500)
  const before = await memory()
  await fill(500, 2_000)
  const after = await memory()
  // Each of the two got half of 150 MB; what it holds beyond its 8 MB is garbage not yet collected.
  for (const [index, megabytes] of after.entries()) expect(megabytes - (before[index] ?? 0)).toBeLessThan(50)
  expect((await edge.ask('flood', page(1_999))).headers['x-atelier-cache']).toMatch(/hit|miss/)
})
