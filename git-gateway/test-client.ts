import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { flushPacket, packet } from './pkt-line.ts'

export type Sent = { headers?: Record<string, string | undefined>; body?: Buffer; chunks?: Iterable<number> }
export type Answer = { status: number; headers: Record<string, string | string[] | undefined>; text: string }
export type Send = (method: string, path: string, sent?: Sent) => Promise<Answer>

/** Requests to a gateway that git itself would never make. */
export function clientOf({ port }: { port: number }) {
  const send: Send = (method, path, { headers = {}, body, chunks = [] } = {}) =>
    new Promise((resolve, reject) => {
      const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined))
      const sent = httpRequest({ host: '127.0.0.1', port, method, path, headers: given, agent: false })
      sent.on('error', reject)
      sent.on('response', (response) => {
        const parts: Buffer[] = []
        response.on('data', (chunk: Buffer) => parts.push(chunk))
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(parts).toString('utf8'),
          }),
        )
      })
      for (const byte of chunks) sent.write(Buffer.from([byte]))
      sent.end(body)
    })

  return {
    send,
    /** A request line exactly as given, which node:http might not send; resolves to the status, or null when the connection was cut. */
    sendTarget: async (
      method: string,
      target: string,
      headers: Record<string, string> = {},
    ): Promise<number | null> => {
      const socket = connect(port, '127.0.0.1')
      let text = ''
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1')
      })
      socket.on('error', () => socket.destroy())
      socket.write(headOf(method, target, { ...headers, Connection: 'close', 'Content-Length': '0' }))
      await once(socket, 'close')
      const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(text) ?? []
      return status ? Number(status) : null
    },
    /** Begins a POST of which these bytes are sent, and no more; the socket is the caller's. */
    begin: async (
      path: string,
      bytes: Buffer,
      { headers, length }: { headers: Record<string, string>; length: number },
    ) => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => socket.destroy())
      socket.write(headOf('POST', path, { ...headers, 'Content-Length': String(length) }))
      await new Promise<void>((resolve) => socket.write(bytes, () => resolve()))
      return socket
    },
  }
}

function headOf(method: string, target: string, headers: Record<string, string>): string {
  const lines = Object.entries({ Host: 'git.localhost', ...headers }).map(([name, value]) => `${name}: ${value}`)
  return `${[`${method} ${target} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`
}

export function basic(password: string, user = 'ada'): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

/** What a push says before its pack: one ref made or moved, with further capabilities. */
export function pushHead(
  sha: string,
  { ref = 'refs/heads/main', old = '0'.repeat(40), capabilities = '', options = [] as string[] } = {},
): Buffer {
  const asked = ['report-status', 'side-band-64k', ...(options.length > 0 ? ['push-options'] : []), capabilities]
  const command = packet(`${old} ${sha} ${ref}\0${asked.join(' ').trim()}`)
  const given = options.length > 0 ? [...options.map((option) => packet(option)), flushPacket] : []
  return Buffer.concat([command, flushPacket, ...given])
}
