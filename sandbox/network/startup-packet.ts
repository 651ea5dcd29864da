/** What the first packet of a connection to Postgres asks for (protocol §54.7, "StartupMessage" and its kin). */
export type FirstPacket =
  | { kind: 'encryption' }
  | { kind: 'cancel'; id: string }
  | { kind: 'startup'; protocol: number; parameters: Map<string, string> }
  | { kind: 'refused'; code: string; reason: string }

/** What Postgres itself takes at most: MAX_STARTUP_PACKET_LENGTH. */
export const longestStartup = 10_000

const cancelRequest = 80_877_102
const encryptionRequests = [80_877_103, 80_877_104] // SSLRequest, GSSENCRequest

/**
 * Splits the first packet off what a client has sent so far; null: it is not whole yet. Text is taken as Latin-1, so that it is written again
 * byte for byte.
 */
export function splitFirstPacket(bytes: Buffer): { packet: FirstPacket; size: number } | null {
  if (bytes.length < 4) return null
  const size = bytes.readUInt32BE(0)
  if (size < 8 || size > longestStartup) return { packet: refused('08P01', 'that is no startup packet'), size: 0 }
  if (bytes.length < size) return null
  return { packet: readPacket(bytes.subarray(4, size)), size }
}

function readPacket(body: Buffer): FirstPacket {
  const code = body.readUInt32BE(0)
  if (encryptionRequests.includes(code)) return body.length === 4 ? { kind: 'encryption' } : malformed
  if (code === cancelRequest) return { kind: 'cancel', id: body.subarray(4).toString('hex') }
  if (code >>> 16 !== 3) return refused('0A000', 'this protocol is not spoken here; it is version 3')
  const parameters = readParameters(body.subarray(4))
  return parameters ? { kind: 'startup', protocol: code, parameters } : malformed
}

// Pairs of texts that end with NUL, and a NUL after the last. A name given twice means two things to two readers.
function readParameters(body: Buffer): Map<string, string> | null {
  const parts = body.toString('latin1').split('\0')
  const [last, end] = [parts.pop(), parts.pop()]
  if (last !== '' || end !== '' || parts.length % 2 !== 0) return null
  const parameters = new Map<string, string>()
  for (let at = 0; at < parts.length; at += 2) {
    const [name = '', value = ''] = [parts[at], parts[at + 1]]
    if (name === '' || parameters.has(name)) return null
    parameters.set(name, value)
  }
  return parameters
}

export function writeStartup(protocol: number, parameters: Map<string, string>): Buffer {
  const pairs = [...parameters].map(([name, value]) => `${name}\0${value}\0`).join('')
  const body = Buffer.from(`${pairs}\0`, 'latin1')
  const head = Buffer.alloc(8)
  head.writeUInt32BE(8 + body.length, 0)
  head.writeUInt32BE(protocol, 4)
  return Buffer.concat([head, body])
}

export function writeCancel(id: string): Buffer {
  const body = Buffer.from(id, 'hex')
  const head = Buffer.alloc(8)
  head.writeUInt32BE(8 + body.length, 0)
  head.writeUInt32BE(cancelRequest, 4)
  return Buffer.concat([head, body])
}

/** As the server itself says it, so that every driver shows it. */
export function writeError(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const head = Buffer.from('E\0\0\0\0')
  head.writeUInt32BE(4 + fields.length, 1)
  return Buffer.concat([head, fields])
}

/**
 * Looks in what the server says before the first query for the number a session may be cancelled by (BackendKeyData): process id and secret, as in
 * a CancelRequest. `push` returns false as soon as there is nothing more to look for.
 */
export class SessionKeyReader {
  #waiting: Buffer = Buffer.alloc(0)
  key: string | null = null

  push(chunk: Buffer): boolean {
    this.#waiting = this.#waiting.length === 0 ? chunk : Buffer.concat([this.#waiting, chunk])
    while (this.#waiting.length >= 5) {
      const type = String.fromCharCode(this.#waiting[0] ?? 0)
      const size = 1 + this.#waiting.readUInt32BE(1)
      if (size > longestGreeting) return false
      if (this.#waiting.length < size) return true
      if (type === 'K') this.key = this.#waiting.subarray(5, size).toString('hex')
      if (type === 'Z' || type === 'E') return false
      this.#waiting = this.#waiting.subarray(size)
    }
    return true
  }
}

const longestGreeting = 65_536
const malformed = refused('08P01', 'the startup packet is malformed')

/** A refusal, in Postgres' own codes. */
export function refused(code: string, reason: string): FirstPacket & { kind: 'refused' } {
  return { kind: 'refused', code, reason }
}
