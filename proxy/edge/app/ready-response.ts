import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

// The text of a response's head, and whether it has gone, as Node keeps them. They are not in its documentation: ready-response.test.ts compares
// byte for byte what comes of them, for the day a newer Node keeps them elsewhere.
type Headed = ServerResponse & { _header: string | null; _headerSent: boolean }

/** Larger ones gain nothing worth their place in memory: what they cost is the copying into the socket. */
export const maxReadyBytes = 65_536

const dateField = '\r\nDate: '

/**
 * A response that is the same for everybody but for its Date: status line, headers and body in one buffer, which goes to the socket in one write.
 * Against writeHead and end, which check, join and write in two parts what was the same the last time, it saves a tenth of what a small
 * file costs (decision 0015).
 */
export class ReadyResponse {
  readonly #bytes: Buffer
  readonly #dateAt: number
  #second = 0

  /** From the head that Node has made for a response to a kept-alive connection (`writeHead` has been called, `end` not yet). Null: it cannot be kept. */
  static of(response: ServerResponse, body: Buffer): ReadyResponse | null {
    const head = (response as Headed)._header
    if (typeof head !== 'string' || body.length > maxReadyBytes || !response.shouldKeepAlive) return null
    const dateAt = head.indexOf(dateField)
    return dateAt === -1 ? null : new ReadyResponse(head, body, dateAt + dateField.length)
  }

  private constructor(head: string, body: Buffer, dateAt: number) {
    this.#bytes = Buffer.concat([Buffer.from(head, 'latin1'), body])
    this.#dateAt = dateAt
  }

  /**
   * Sends it. False, and nothing is sent: the connection is to be closed afterwards, or a response before this one is still on its way, so
   * that Node has to put this one together by itself.
   */
  send(response: ServerResponse): boolean {
    const { socket } = response
    if (!response.shouldKeepAlive || socket === null || !socket.writable) return false
    this.#setDate()
    const headed = response as Headed
    headed._header = ' '
    headed._headerSent = true
    if (written === socket) written = null
    else socket.write(this.#bytes)
    // Closes when the last byte is with the kernel, as ever: whoever drains waits for that.
    response.end()
    return true
  }

  /** Writes it where no response has been made. True: the kernel has all of it; else `finishWritten` is to have one made, which ends with it. */
  write(socket: Socket): boolean {
    this.#setDate()
    socket.write(this.#bytes)
    return socket.writableLength === 0
  }

  // In place, also while a slow client has not got it all: a later date is as true.
  #setDate(): void {
    const second = Math.floor(Date.now() / 1000)
    if (second === this.#second) return
    this.#second = second
    this.#bytes.write(new Date(second * 1000).toUTCString(), this.#dateAt, 'latin1')
  }
}

let written: Socket | null = null

/** `handle` has Node make the response to what has been written early, and sends it the way that leads to the same `ReadyResponse`. */
export function finishWritten<Result>(socket: Socket, handle: () => Result): Result {
  written = socket
  try {
    return handle()
  } finally {
    // It led elsewhere: a second answer behind the first would be taken for that of the next request.
    if (written) socket.destroy()
    written = null
  }
}

/**
 * Sends a response whose status line and headers are known to be right, head and body as one text in one write: `writeHead` would check them once more, and
 * `end` write twice. It says how long its body is, or can have none. False, and nothing is sent: as for `ReadyResponse.send`.
 */
export function sendChecked(
  response: ServerResponse,
  { status, reason }: { status: number; reason: string },
  headers: readonly (readonly string[])[],
  body: Buffer | null,
): boolean {
  const { socket } = response
  if (!response.shouldKeepAlive || socket === null || !socket.writable) return false
  let text = `HTTP/1.1 ${status} ${reason}\r\n`
  let isDated = false
  for (const pairs of headers) {
    for (let index = 0; index < pairs.length; index += 2) {
      const name = pairs[index] ?? ''
      text += `${name}: ${pairs[index + 1]}\r\n`
      if (name.length === 4 && name.toLowerCase() === 'date') isDated = true
    }
  }
  text += isDated ? 'Connection: keep-alive\r\n\r\n' : `Date: ${dateNow()}\r\nConnection: keep-alive\r\n\r\n`
  const headed = response as Headed
  headed.statusCode = status
  headed._header = ' '
  headed._headerSent = true
  // Latin-1 is any bytes as text.
  socket.write(body ? text + body.toString('latin1') : text, 'latin1')
  response.end()
  return true
}

let second = 0
let date = ''

function dateNow(): string {
  const now = Math.floor(Date.now() / 1000)
  if (now !== second) {
    second = now
    date = new Date(now * 1000).toUTCString()
  }
  return date
}
