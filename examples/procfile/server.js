import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

const greeting = process.argv[2]

const server = createServer((request, response) => {
  response.setHeader('content-type', 'text/plain')
  if (request.url === '/gc') globalThis.gc()
  response.end(greeting)
})

// The handshake of a WebSocket, by hand; what comes is sent back as it is.
server.on('upgrade', (request, socket) => {
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
  const accept = createHash('sha1').update(key).digest('base64')
  socket.on('error', () => socket.destroy())
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  socket.pipe(socket)
})

// Requests in flight are finished when the next version is live.
process.once('SIGTERM', () => server.close())
server.listen(process.env.PORT)
