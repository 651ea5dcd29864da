// node paced-client.ts '<JSON of a PacedLoad>'   prints the JSON of a PacedResult
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { PacedLoad, PacedResult } from './paced-load.ts'

const load: PacedLoad = JSON.parse(process.argv[2] ?? '')
const more = Object.entries(load.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`)
const request = `GET ${load.path} HTTP/1.1\r\nhost: ${load.host}\r\n${more.join('')}\r\n`
const count = Math.floor(load.rate * load.seconds)
const latencies = new Float64Array(count)
const lateness = new Float64Array(count)

const free: Connection[] = []
let sent = 0
let answered = 0
let startedAt = 0
let hadNoneFree = false
const { promise: isOver, resolve: end } = Promise.withResolvers<void>()

/** One request at a time; when its answer is whole, the connection is free again. */
class Connection {
  readonly #socket: Socket
  #head = ''
  #missing = 0
  #dueAt = 0

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true).on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('close', () => fail('a connection was closed'))
  }

  send(dueAt: number): void {
    this.#dueAt = dueAt
    this.#socket.write(request, 'latin1')
  }

  #take(chunk: Buffer): void {
    if (this.#missing > 0) this.#missing -= chunk.length
    else {
      this.#head += chunk.toString('latin1')
      const end = this.#head.indexOf('\r\n\r\n')
      if (end < 0) return
      const [, length] = /\r\ncontent-length: *(\d+)/i.exec(this.#head) ?? []
      if (!this.#head.startsWith('HTTP/1.1 200 ') || length === undefined) {
        fail(this.#head)
        return
      }
      this.#missing = Number(length) - (this.#head.length - end - 4)
      this.#head = ''
    }
    if (this.#missing > 0) return
    // From when the request was due, not from when it could be sent: whoever waits for a free connection waits for the server.
    latencies[answered++] = performance.now() - this.#dueAt
    free.push(this)
    if (answered === count) end()
    else sendDue()
  }
}

// Called by every answer and by a timer: timers alone are a millisecond apart.
function sendDue(): void {
  const now = performance.now()
  while (sent < count && free.length > 0) {
    const dueAt = startedAt + (1000 * sent) / load.rate
    if (dueAt > now) return
    // What waited for the server to free a connection is late by no fault of this program.
    lateness[sent] = hadNoneFree ? 0 : now - dueAt
    free.pop()?.send(dueAt)
    sent++
  }
  hadNoneFree = free.length === 0
}

function fail(problem: string): void {
  if (answered === count) return // it is over, and the connections are closed
  console.error(problem)
  process.exit(1)
}

for (let index = 0; index < load.connections; index++) {
  const socket = connect(load.port, '127.0.0.1')
  await once(socket, 'connect')
  free.push(new Connection(socket))
}
startedAt = performance.now()
const timer = setInterval(sendDue, 1)
await isOver
clearInterval(timer)

const at = (values: Float64Array, percent: number) => values[Math.ceil((percent / 100) * count) - 1] ?? Number.NaN
latencies.sort()
lateness.sort()
const result: PacedResult = { p50: at(latencies, 50), p99: at(latencies, 99), late99: at(lateness, 99) }
process.stdout.write(JSON.stringify(result), () => process.exit(0))
