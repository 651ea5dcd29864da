import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { defaultLimits } from '../../limits.ts'
import { HostView } from './host-view.ts'

const up = (path: string) => ({ is: 'up' as const, sockets: [path], speaks: 'http' as const })
let wakes = 0
const view = (limits: Partial<typeof defaultLimits> = {}) =>
  new HostView({ ...defaultLimits, ...limits }, { wake: () => wakes++ })

test('requests wait for a start, a bounded number of them for a bounded time', async () => {
  const host = view({ maxWaiting: 2 })
  host.become({ is: 'crashed', forMs: 500 })
  const waiting = [host.whenUp(2_000), host.whenUp(50)]
  await expect(host.whenUp(2_000)).rejects.toMatchObject({ why: 'busy' })
  await expect(waiting[1]).rejects.toMatchObject({ why: 'starting' })
  host.become({ is: 'starting' })
  host.become(up('/run/a.sock'))
  expect((await waiting[0])?.socketPath).toBe('/run/a.sock')
  expect(host.upstream()?.socketPath).toBe('/run/a.sock')
})

test('F2: nobody waits for a start that is far away', async () => {
  const host = view()
  const early = host.whenUp(10_000)
  host.become({ is: 'crashed', forMs: 30_000 })
  const far = { why: 'crashed', retryAfterMs: expect.closeTo(30_000, -3) }
  await expect(early).rejects.toMatchObject(far)
  await expect(host.whenUp(10_000)).rejects.toMatchObject(far)
})

test('F2: a refused connection waits for the process that comes next', async () => {
  const host = view()
  host.become(up('/run/a.sock'))
  const dead = await host.whenUp(1_000)
  const next = host.whenUpAgain(dead, 1_000)
  host.become({ is: 'crashed', forMs: 0 })
  host.become({ is: 'starting' })
  host.become(up('/run/b.sock'))
  expect((await next).socketPath).toBe('/run/b.sock')
})

test('a host that is said to be up where it is keeps the requests on their way', () => {
  const host = view()
  host.become(up('/run/a.sock'))
  const upstream = host.upstream()
  host.become(up('/run/a.sock'))
  expect(host.upstream()).toBe(upstream)
  host.become(up('/run/b.sock'))
  expect(host.upstream()).not.toBe(upstream)
})

test('who waits for a host that is stopped is turned away', async () => {
  const host = view()
  const waiting = host.whenUp(1_000)
  host.close()
  await expect(waiting).rejects.toMatchObject({ why: 'stopped' })
  await expect(host.whenUp(1_000)).rejects.toMatchObject({ why: 'stopped' })
  expect(host.upstream()).toBeNull()
})

test('many requests that find a host asleep wake it once, and all wait for it', async () => {
  const host = view()
  host.become({ is: 'asleep' })
  expect(host.upstream()).toBeNull()
  wakes = 0
  const waiting = Array.from({ length: 100 }, () => host.whenUp(2_000))
  expect(wakes).toBe(1)
  host.become({ is: 'starting' })
  host.become(up('/run/a.sock'))
  expect(new Set((await Promise.all(waiting)).map(({ socketPath }) => socketPath))).toEqual(new Set(['/run/a.sock']))
  host.become({ is: 'asleep' })
  void host.whenUp(2_000).catch(() => undefined)
  expect(wakes).toBe(2)
  host.close()
})

test('of several isolates the one with the fewest requests on their way is chosen, and one that leaves is left in peace', async () => {
  await using one = await silentServer()
  await using other = await silentServer()
  const host = view()
  const both = { is: 'up' as const, sockets: [one.path, other.path], speaks: 'http' as const }
  host.become(both)
  const chosen: string[] = []
  for (let requests = 0; requests < 4; requests++) {
    const upstream = host.upstream()
    chosen.push(upstream?.socketPath ?? '')
    upstream?.send(
      { method: 'GET', target: '/', headers: ['host', 'a'], body: Readable.from([]), bodyLength: 0 },
      { answered: () => undefined, failed: () => undefined },
    )
  }
  expect(chosen).toEqual([one.path, other.path, one.path, other.path])

  const [first] = [host.upstream()]
  if (!first) throw new Error('nothing is up')
  expect((await host.whenUpAgain(first, 100)).socketPath).not.toBe(first.socketPath)
  await expect.poll(() => other.connections()).toBe(2)
  host.become({ ...both, sockets: [one.path] })
  expect(host.upstream()?.socketPath).toBe(one.path)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(other.connections()).toBe(2)
  host.close()
  await expect.poll(() => [one.connections(), other.connections()]).toEqual([0, 0])
})

// Takes requests and answers none.
async function silentServer() {
  const path = join(await mkdtemp(join(tmpdir(), 'atl-')), 's')
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
    socket.resume()
  }).listen(path)
  await once(server, 'listening')
  return {
    path,
    connections: () => sockets.size,
    async [Symbol.asyncDispose]() {
      server.close()
      await rm(dirname(path), { recursive: true })
    },
  }
}
