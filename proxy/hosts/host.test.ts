import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AppError } from '../../registry/errors.ts'
import { createLog } from '../../registry/log.ts'
import type { Isolate, IsolateExit, IsolateSpec } from '../../sandbox/isolate/isolate.ts'
import type { HostState } from '../edge-messages.ts'
import { defaultLimits } from '../limits.ts'
import { Host, type HostDeps } from './host.ts'

let directory: string
let started: TestIsolate[]
let lines: string[]
let states: HostState[]
/** Null: it does neither that nor end. */
let comesUp: boolean | null
/** Until then none is launched. */
let launching: Promise<void>

// A process we can end at will; what a real one does is tested through the edge.
class TestIsolate implements Isolate {
  readonly pid = 1
  readonly socketPath: string
  readonly exited: Promise<IsolateExit>
  readonly end: (why: string) => void
  isStopped = false
  pings = 0

  constructor({ socketPath }: IsolateSpec) {
    this.socketPath = socketPath
    const { promise, resolve } = Promise.withResolvers<IsolateExit>()
    this.exited = promise
    this.end = (why) => resolve({ code: 1, signal: null, cause: 'exit', error: new AppError('APP_CRASHED', why) })
  }

  async ready(): Promise<void> {
    if (comesUp === null) await this.exited.then(({ error }) => Promise.reject(error))
    if (!comesUp) throw new AppError('APP_CRASHED', 'it cannot start')
  }

  speaks() {
    return 'http' as const
  }

  silent = 0

  ping(): void {
    this.pings++
  }

  silentMs(): number {
    return this.silent
  }

  busyShare: number | null = null

  async routes() {
    return null
  }

  busy(): number | null {
    return this.busyShare
  }

  needsProcess(): string | null {
    return null
  }

  async stop(): Promise<IsolateExit> {
    this.isStopped = true
    this.end('stopped')
    return this.exited
  }
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'atl-host-'))
  started = []
  lines = []
  states = []
  comesUp = true
  launching = Promise.resolve()
})

afterEach(() => rm(directory, { recursive: true, force: true }))

function startHost(limits: Partial<HostDeps['limits']> = {}): Host {
  const log = createLog('test')
  log.level = 'silent'
  return new Host(
    {
      name: 'hello v1',
      home: directory,
      runs: { kind: 'server', entry: 'x' },
      directory,
      env: {},
      user: { uid: null, gid: null },
      memoryMb: 64,
    },
    {
      start: async (spec) => {
        await launching
        const isolate = new TestIsolate(spec)
        started.push(isolate)
        return isolate
      },
      socketPath: (start) => join(directory, `${start}.sock`),
      onLine: (_stream, line) => lines.push(line),
      maxIsolates: 3,
      hasFreeCore: () => true,
      onState: (state) => states.push(state),
      log,
      limits: { ...defaultLimits, firstBackoffMs: 100, maxBackoffMs: 300, ...limits },
    },
  )
}

test('F2: a process that ends is started again: at once, then after longer and longer', async () => {
  const host = startHost()
  await host.started()
  const starts: number[] = []
  for (let crash = 0; crash < 5; crash++) {
    const crashedAt = performance.now()
    started.at(-1)?.end('exit code 1')
    await expect.poll(() => started.length, { interval: 5 }).toBe(crash + 2)
    await host.whenUp(20_000)
    starts.push(performance.now() - crashedAt)
  }
  const [, second = 0, third = 0, fourth = 0] = starts
  const pauses = states.flatMap((state) => (state.is === 'crashed' ? Math.ceil(state.forMs / 50) * 50 : []))
  expect(pauses).toEqual([0, 100, 200, 300, 300])
  expect(second).toBeGreaterThanOrEqual(95)
  expect(third).toBeGreaterThanOrEqual(195)
  expect(fourth).toBeGreaterThanOrEqual(295)
  expect(lines[0]).toBe('exit code 1; it is started again now')
  expect(new Set(started.map(({ socketPath }) => socketPath)).size).toBe(6)
  await host.stop()
})

test('F2: edge processes are told when it is up, where, and when it comes back after a crash', async () => {
  const host = startHost({ firstBackoffMs: 30_000, maxBackoffMs: 60_000 })
  await host.started()
  const [first] = started
  first?.end('exit code 1')
  await expect.poll(() => started.length).toBe(2)
  await host.whenUp(20_000)
  started[1]?.end('exit code 1')
  await expect.poll(() => host.state()).toMatchObject({ is: 'crashed' })
  expect(states).toEqual([
    { is: 'starting' },
    { is: 'up', sockets: [first?.socketPath], speaks: 'http' },
    { is: 'crashed', forMs: 0 },
    { is: 'starting' },
    { is: 'up', sockets: [started[1]?.socketPath], speaks: 'http' },
    { is: 'crashed', forMs: expect.closeTo(30_000, -3) },
  ])
  await expect(host.whenUp(20.5)).rejects.toMatchObject({ code: 'APP_CRASHED' })
  await host.stop()
  expect(states.at(-1)).toEqual({ is: 'stopped' })
})

test('a host sleeps without a process, and without a start to come, until it is woken', async () => {
  const host = startHost({ firstBackoffMs: 500, maxBackoffMs: 500 })
  expect([started.length, host.state()]).toEqual([0, { is: 'asleep' }])
  await host.started()
  expect(host.sleep('went to sleep')).toBe(true)
  expect(started[0]?.isStopped).toBe(true)
  expect(host.state()).toEqual({ is: 'asleep' })
  host.wake()
  host.wake()
  await host.whenUp(20_000)
  expect(started.length).toBe(2)

  // Between a crash and the next start.
  started[1]?.end('exit code 1')
  await expect.poll(() => started.length).toBe(3)
  await host.whenUp(20_000)
  started[2]?.end('exit code 1')
  await expect.poll(() => host.state(), { interval: 1 }).toMatchObject({ is: 'crashed' })
  expect(host.sleep('went to sleep again')).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 600))
  expect(started.length).toBe(3)
  expect(lines).toEqual(expect.arrayContaining(['went to sleep', 'woken by a request', 'went to sleep again']))
  await host.stop()
})

test('I3: a host whose thread has owed a sign of life for long enough is replaced', async () => {
  const host = startHost()
  await host.started()
  host.checkAlive(30_000)
  if (started[0]) started[0].silent = 29_999
  host.checkAlive(30_000)
  expect([started[0]?.pings, started[0]?.isStopped]).toEqual([2, false])
  if (started[0]) started[0].silent = 30_000
  host.checkAlive(30_000)
  expect(started[0]?.isStopped).toBe(true)
  await expect.poll(() => started.length).toBe(2)
  expect(lines).toEqual(['its thread was stuck: it answered nothing any more; it is started again now'])
  await host.stop()
})

test('under load further isolates start beside the first, up to its limit, and end when there is less to do', async () => {
  const host = startHost()
  await host.started()
  const look = async (share: number) => {
    for (const isolate of started) isolate.busyShare = share
    host.checkAlive(30_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (let looks = 0; looks < 10; looks++) await look(1)
  const paths = () => started.filter(({ isStopped }) => !isStopped).map(({ socketPath }) => socketPath)
  expect(started.length).toBe(3)
  expect(host.state()).toEqual({ is: 'up', sockets: paths(), speaks: 'http' })

  // The end of one is the end of its own requests: the others go on, and while the first starts again too.
  started[1]?.end('exit code 1')
  await expect.poll(() => host.state()).toMatchObject({ sockets: [started[0]?.socketPath, started[2]?.socketPath] })
  started[0]?.end('exit code 1')
  await expect.poll(() => started.length).toBe(4)
  await expect.poll(() => host.state()).toMatchObject({ sockets: [started[3]?.socketPath, started[2]?.socketPath] })
  for (const state of states.slice(1)) expect(state.is).toBe('up')

  for (let looks = 0; looks < 6; looks++) await look(0.1)
  expect(host.state()).toMatchObject({ sockets: [started[3]?.socketPath] })
  await host.stop()
  expect(started.slice(2).map(({ isStopped }) => isStopped)).toEqual([true, true])
})

test.each(['the first', 'a further'])(
  'a host that is stopped waits for %s isolate that is just being launched',
  async (which) => {
    const host = startHost()
    if (which === 'a further') await host.started()
    const launched = Promise.withResolvers<void>()
    launching = launched.promise
    if (which === 'the first') host.started().catch(() => undefined)
    for (let looks = 0; looks < 2; looks++) {
      for (const isolate of started) isolate.busyShare = 1
      host.checkAlive(30_000)
    }
    let isOver = false
    const stopped = host.stop().then(() => {
      isOver = true
    })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(isOver).toBe(false)
    const before = started.length
    launched.resolve()
    await stopped
    expect(started.length).toBe(before + 1)
    expect(started.every(({ isStopped }) => isStopped)).toBe(true)
  },
)

test('a further isolate that does not come up is ended with its host, and not waited for', async () => {
  const host = startHost()
  await host.started()
  const [first] = started
  comesUp = null
  for (let looks = 0; looks < 2; looks++) {
    if (first) first.busyShare = 1
    host.checkAlive(30_000)
  }
  await expect.poll(() => started.length).toBe(2)
  await host.stop()
  expect(started[1]?.isStopped).toBe(true)
})

test('a stopped host starts nothing any more', async () => {
  const host = startHost()
  await host.started()
  started[0]?.end('exit code 1')
  await host.stop()
  await expect(host.whenUp(20_000)).rejects.toMatchObject({ code: 'APP_CRASHED' })
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(started.filter(({ isStopped }) => !isStopped).length).toBeLessThanOrEqual(1)
  expect(host.place()).toBeNull()
})
