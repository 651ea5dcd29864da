import type { TestBundle } from './edge.ts'

/**
 * An app of kind `server` that answers `name` at `/`, streams lines for `streamMs` at `/stream`, counts the bytes of an upload at `/upload` and
 * echoes WebSocket messages. `isSick`: it answers 500 to everything.
 */
export function mixedApp(name: string, { isSick = false }: { isSick?: boolean } = {}): TestBundle {
  const source = [`const [name, isSick, streamMs] = ${JSON.stringify([name, isSick, streamMs])}`, server]
  return { kind: 'server', server: { 'index.mjs': source.join('\n') }, drain_timeout_sec: drainSec }
}

const streamMs = 1000
// Four times what a stream or an upload takes: those are to end by themselves, on a busy machine too.
const drainSec = 4

const server = `
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

const app = createServer((request, response) => {
  if (isSick) return response.writeHead(500).end('sick ' + name)
  if (request.url === '/stream') return stream(response)
  let bytes = 0
  request.on('data', (chunk) => { bytes += chunk.length })
  request.on('end', () => response.end(request.url === '/upload' ? String(bytes) : name))
})

function stream(response) {
  const startedAt = Date.now()
  let lines = 0
  const timer = setInterval(() => {
    if (Date.now() - startedAt > streamMs) response.end('end of ' + lines)
    else response.write('line ' + ++lines + '\\n')
  }, 40)
  response.on('close', () => clearInterval(timer))
}

// RFC 6455, as much of it as short messages need: a masked frame comes in, the same goes out unmasked.
app.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n')
  let heard = Buffer.alloc(0)
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk) => {
    heard = Buffer.concat([heard, chunk])
    for (;;) {
      const length = heard[1] & 127
      if (heard.length < 2 || heard.length < 6 + length) return
      const body = heard.subarray(6, 6 + length).map((byte, index) => byte ^ heard[2 + (index % 4)])
      socket.write(Buffer.concat([Buffer.from([heard[0], length]), body]))
      if ((heard[0] & 15) === 8) return socket.end()
      heard = heard.subarray(6 + length)
    }
  })
})

app.listen(process.env.PORT)
`
