import { createServer } from 'node:http'

const server = createServer((request, response) => {
  if (request.url === '/events') return sendEvents(response)
  response.setHeader('content-type', 'text/plain')
  response.end('Hello from node:http, version one')
})

// Server-sent events: one a second until the visitor leaves.
function sendEvents(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write('data: 0\n\n')
  let count = 0
  const timer = setInterval(() => response.write(`data: ${++count}\n\n`), 1000)
  response.on('close', () => clearInterval(timer))
}

server.listen(process.env.PORT || 3000)
