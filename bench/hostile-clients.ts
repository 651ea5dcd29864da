// Clients as security.md E1 and E5–E8 have them, as a process of their own: started with where the edge is and for how long, it ends by itself
// and prints how often it did what.
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

export type HostileClientsOptions = {
  port: number
  seconds: number
  /** Host names of apps: good ones with `/endless`, `/upload` and WebSockets, and hostile ones with their paths. */
  good: string[]
  hostile: Record<string, string[]>
}

const { port, seconds, good, hostile }: HostileClientsOptions = JSON.parse(process.argv[2] ?? '')
const endsAt = performance.now() + seconds * 1000
const acts: Record<string, number> = {}
const isOver = () => performance.now() > endsAt
const one = <T>(list: T[]): T => list[Math.floor(Math.random() * list.length)] as T
let addresses = 0

/** Resolves when it is closed, or after `mostMs`, when it is reset. What comes is thrown away unless nothing is to be read. */
async function visit(
  act: string,
  say: (socket: Socket) => void,
  { mostMs = 3_000, reads = true, from = addresses++ % 40 } = {},
): Promise<void> {
  acts[act] = (acts[act] ?? 0) + 1
  // Addresses of their own: the edge grants each so many connections, and what the others do is not these clients' business.
  const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.9.${1 + from}` })
  socket.on('error', () => undefined)
  if (reads) socket.resume()
  const closed = new Promise<void>((close) => socket.once('close', () => close()))
  socket.once('connect', () => say(socket))
  const waited = new AbortController()
  await Promise.race([closed, pause(mostMs, undefined, { signal: waited.signal }).catch(() => undefined)])
  waited.abort()
  if (!socket.destroyed) socket.resetAndDestroy()
}

function drips(socket: Socket, text: string, everyMs: number): void {
  const timer = setInterval(() => (socket.writable ? socket.write(text) : clearInterval(timer)), everyMs)
  socket.once('close', () => clearInterval(timer))
}

function dripBody(socket: Socket): void {
  socket.write(head('POST /upload HTTP/1.1', one([...good, 'nobody.apps.localhost']), 'Transfer-Encoding: chunked'))
  drips(socket, '1\r\nx\r\n', 2_000)
}

const head = (line: string, host: string, ...lines: string[]) => [line, `Host: ${host}`, ...lines, '', ''].join('\r\n')
const handshake = (host: string) =>
  head(
    'GET /socket HTTP/1.1',
    host,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  )
const framings = [
  ['Content-Length: 4', 'Transfer-Encoding: chunked'],
  ['Transfer-Encoding: gzip, chunked'],
  ['Transfer-Encoding : chunked'],
  ['Content-Length: 4', 'Content-Length: 5'],
  ['X: a', ' folded: b'],
  ['Host: evil.com'],
]
const longest = 70_000

/** Each is somebody who does one thing again and again: how many of them, and how long they rest. */
const crowd: { act: () => Promise<void>; count: number; restMs: number }[] = [
  {
    count: 200,
    restMs: 500,
    act: () => visit('head that never ends', (s) => drips(s.setNoDelay(), 'X', 2_000), { mostMs: longest }),
  },
  { count: 20, restMs: 500, act: () => visit('upload that drips', dripBody, { mostMs: longest }) },
  {
    count: 10,
    restMs: 500,
    act: () =>
      visit('download unread', (s) => s.write(head('GET /endless HTTP/1.1', one(good))), {
        mostMs: longest,
        reads: false,
      }),
  },
  {
    count: 4,
    restMs: 100,
    act: () => visit('download aborted', (s) => s.write(head('GET /endless HTTP/1.1', one(good))), { mostMs: 100 }),
  },
  {
    count: 4,
    restMs: 100,
    act: () =>
      visit(
        'upload aborted',
        (s) => s.write(`${head('POST /upload HTTP/1.1', one(good), 'Content-Length: 1000000')}some`),
        { mostMs: 100 },
      ),
  },
  {
    count: 4,
    restMs: 100,
    act: () =>
      visit('handshake reset', (s) => s.write(handshake(one([...good, 'nobody.apps.localhost']))), {
        mostMs: Math.random() * 50,
      }),
  },
  {
    count: 150,
    restMs: 500,
    act: () =>
      visit('idle WebSocket', (s) => s.write(handshake(one(good))), { mostMs: 5_000 + Math.random() * 30_000 }),
  },
  {
    count: 1,
    restMs: 200,
    act: () => visit('head too large', (s) => s.write(head('GET / HTTP/1.1', one(good), `X: ${'a'.repeat(20_000)}`))),
  },
  {
    count: 1,
    restMs: 200,
    act: () =>
      visit('headers too many', (s) =>
        s.write(head('GET / HTTP/1.1', one(good), ...Array.from({ length: 900 }, (_, n) => `x${n}: 1`))),
      ),
  },
  {
    count: 2,
    restMs: 100,
    act: () =>
      visit('framing with two readings', (s) =>
        s.write(`${head('POST / HTTP/1.1', one(good), ...one(framings))}4\r\nabcd\r\n0\r\n\r\n`),
      ),
  },
  {
    count: 1,
    restMs: 200,
    act: () =>
      visit('garbage', (s) =>
        s.write(Buffer.from(Array.from({ length: 2_000 }, () => Math.floor(Math.random() * 256)))),
      ),
  },
  ...Object.entries(hostile).map(([host, paths]) => ({
    ...{ count: 2, restMs: 50 },
    act: () =>
      visit(`request to ${host.split('.')[0]}`, (s) =>
        s.write(head(`GET ${one(paths)} HTTP/1.1`, host, 'Connection: close')),
      ),
  })),
]

async function somebody({ act, restMs }: (typeof crowd)[number]): Promise<void> {
  // Not all at once.
  await pause(Math.random() * 3_000)
  while (!isOver()) {
    await act()
    await pause(restMs)
  }
}

/** More connections from one address than one may hold, now and then. */
async function flood(): Promise<void> {
  while (!isOver()) {
    await Promise.all(
      Array.from({ length: 1_300 }, () =>
        visit('connection of a flood', () => undefined, { mostMs: 1_000, from: 100 }),
      ),
    )
    await pause(20_000)
  }
}

for (const kind of crowd) for (let n = 0; n < kind.count; n++) void somebody(kind)
void flood()
await pause(seconds * 1000)
process.stdout.write(JSON.stringify(acts))
process.exit(0)
