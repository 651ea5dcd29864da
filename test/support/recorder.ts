/** A request as an app of `recorder` saw it. `bytes` of the body; `isWhole`: it came to its end. */
export type Recorded = { line: string; headers: string[]; bytes: number; isWhole: boolean }

// Reads HTTP by itself, more simply than any server does: whatever is not a body is the beginning of a request, and gets written down. So a
// byte too many behind a request shows.
const server = `
import { createServer } from 'node:net'
const seen = []
const bodyOf = (headers, rest) => {
  const value = (name) => headers.find((line) => line.toLowerCase().startsWith(name + ':'))?.slice(name.length + 1).trim()
  if (value('transfer-encoding') === undefined) {
    const length = Number(value('content-length') ?? 0)
    return rest.length < length ? null : { bytes: length, taken: length }
  }
  let bytes = 0
  for (let at = 0; ; ) {
    const line = rest.indexOf('\\r\\n', at)
    if (line < 0) return null
    const size = parseInt(rest.slice(at, line), 16)
    at = line + 2 + size + 2
    if (rest.length < at) return null
    bytes += size
    if (size === 0) return { bytes, taken: at }
  }
}
createServer((socket) => {
  let text = ''
  let open = null
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    for (;;) {
      const end = text.indexOf('\\r\\n\\r\\n')
      if (end < 0) return
      const [line, ...headers] = text.slice(0, end).split('\\r\\n')
      const listed = line.startsWith('GET /seen/')
      if (!listed && !open) seen.push((open = { line, headers, bytes: 0, isWhole: false }))
      const body = bodyOf(headers, text.slice(end + 4))
      if (!body) return
      if (!listed) Object.assign(open, { bytes: body.bytes, isWhole: true })
      open = null
      text = text.slice(end + 4 + body.taken)
      const id = line.split(' ')[1]?.split('/')[2]
      const told = listed ? JSON.stringify(seen.filter((one) => one.line.includes('/' + id + '/'))) : 'ok'
      socket.write('HTTP/1.1 200 OK\\r\\nContent-Length: ' + told.length + '\\r\\n\\r\\n' + (line.startsWith('HEAD') ? '' : told))
    }
  })
}).listen(process.env.PORT)
`

const fetchApp = `
const seen = []
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url)
    const [, first, id] = pathname.split('/')
    if (first === 'seen') return Response.json(seen.filter((one) => one.line.includes('/' + id + '/')))
    const one = { line: request.method + ' ' + pathname + ' HTTP/1.1', headers: [...request.headers].map(([name, value]) => name + ': ' + value), bytes: 0, isWhole: false }
    seen.push(one)
    one.bytes = (await request.arrayBuffer()).byteLength
    one.isWhole = true
    return new Response(request.method === 'HEAD' ? null : 'ok')
  },
}
`

/** Apps that answer `ok` and write down what they were asked; `GET /seen/<id>/` gives it back as a list of `Recorded`, of paths `/<id>/…`. */
export const recorders = {
  server: { kind: 'server', server: { 'index.mjs': server } },
  process: { kind: 'process', start: 'node index.mjs', server: { 'index.mjs': server } },
  fetch: { kind: 'fetch', server: { 'index.mjs': fetchApp } },
} as const
