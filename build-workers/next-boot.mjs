// Starts the server that Next.js has built. It runs in the app's bundle, beside server.js; Node builtins only.
import http from 'node:http'
import settings from './atelier.next.json' with { type: 'json' }

const { createServer } = http
http.createServer = (...args) => {
  http.createServer = createServer
  const server = createServer(...args)
  server.prependListener('request', (_request, response) => mendHead(response))
  server.once('listening', () => listenToItself(server))
  return server
}

await import('./server.js')

function mendHead(response) {
  const { writeHead } = response
  response.writeHead = (...args) => {
    putRedirectRight(response)
    limitCaching(response)
    return writeHead.apply(response, args)
  }
}

// To Next.js a request came to the address that the server listens on, and `new URL('/login', request.url)` leads there.
function putRedirectRight(response) {
  const target = response.getHeader('location')
  if (target !== undefined) response.setHeader('location', String(target).replace(ownAddress(), '') || '/')
}

// Of a page that is made ahead Next.js says for how long it holds, and may take it back at any time (revalidatePath), of which no cache hears.
// Where a proxy.ts and the like decide by cookies or languages what is seen at an address, a cache has no part in it at all.
function limitCaching(response) {
  const isMadeAhead = response.hasHeader('x-nextjs-cache') || response.hasHeader('x-nextjs-prerender')
  if (!isMadeAhead || response.hasHeader('cdn-cache-control')) return
  if (!/\bs-maxage\b/.test(String(response.getHeader('cache-control')))) return
  response.setHeader('cdn-cache-control', settings.decidesByVisitor ? 'no-store' : 'max-age=1')
}

let known = null
function ownAddress() {
  if (known) return known
  const names = ['0.0.0.0', 'localhost', '127.0.0.1', process.env.HOSTNAME].filter(Boolean)
  const escaped = names.map((name) => name.replace(/[^\w-]/g, '\\$&'))
  known = new RegExp(`^https?://(${escaped.join('|')}):${Number(process.env.PORT) || 3000}(?=/|$)`)
  return known
}

// For a redirect by a server action it asks itself for the new page, over the network.
function listenToItself(server) {
  const self = createServer((request, response) => server.emit('request', request, response))
  self.listen(0, '127.0.0.1', () => {
    process.env.__NEXT_PRIVATE_ORIGIN = `http://127.0.0.1:${self.address().port}`
  })
  self.unref()
}
