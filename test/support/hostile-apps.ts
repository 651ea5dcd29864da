// Apps that answer as no honest server would, each path in another way. `/` is answered as it should be.

/** A server that writes whatever the path names, byte for byte; only its own walls keep it from worse. */
export const hostileServer = `
import { createServer } from 'node:net'
const answers = {
  '/': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok',
  '/099': 'HTTP/1.1 099 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/000': 'HTTP/1.1 000 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/600': 'HTTP/1.1 600 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/9999': 'HTTP/1.1 9999 Nope\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/reason': 'HTTP/1.1 200 O\\x01K\\x7f\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/reason-nul': 'HTTP/1.1 200 O\\0K\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/header-control': 'HTTP/1.1 200 OK\\r\\nX: a\\x01b\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/header-name': 'HTTP/1.1 200 OK\\r\\nX y: a\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/header-fold': 'HTTP/1.1 200 OK\\r\\nX: a\\r\\n b\\r\\nContent-Length: 2\\r\\n\\r\\nBO',
  '/both': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\n\\r\\n',
  '/both-other': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\nContent-Length: 2\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\n\\r\\n',
  '/lengths': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nContent-Length: 3\\r\\n\\r\\nBO',
  '/coding': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: gzip\\r\\n\\r\\nBO',
  '/switch': 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: x\\r\\n\\r\\nBO',
  '/switch-bare': 'HTTP/1.1 101 Switching Protocols\\r\\n\\r\\nBO',
  '/garbage': 'good day\\r\\n\\r\\n',
  '/huge-head': 'HTTP/1.1 200 OK\\r\\nX: ' + 'a'.repeat(1_000_000) + '\\r\\n\\r\\n',
  '/interim': 'HTTP/1.1 102 Processing\\r\\n\\r\\n'.repeat(5000),
  '/interim-huge': ('HTTP/1.1 103 Early Hints\\r\\nLink: ' + 'a'.repeat(60_000) + '\\r\\n\\r\\n').repeat(10),
  '/nothing': '',
  '/cut': 'HTTP/1.1 200 OK\\r\\nContent-Length: 20\\r\\n\\r\\nBO',
  '/cut-chunk': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nBO',
  '/bad-chunk': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\nBO',
  '/two': 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nokHTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nstolen',
  '/trailers-huge': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\nX: ' + 'a'.repeat(1_000_000) + '\\r\\n\\r\\n',
  '/trailer-control': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nBO\\r\\n0\\r\\nX: a\\0b\\r\\n\\r\\n',
  '/no-body-204': 'HTTP/1.1 204 No Content\\r\\nContent-Length: 8\\r\\n\\r\\nsmuggled',
  '/no-body-304': 'HTTP/1.1 304 Not Modified\\r\\nContent-Length: 8\\r\\n\\r\\nsmuggled',
  '/trailers-forged': 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\nTrailer: Set-Cookie\\r\\n\\r\\n2\\r\\nok\\r\\n0\\r\\nSet-Cookie: own=1\\r\\nX-Sum: 1\\r\\n\\r\\n',
  '/stays-open': 'HTTP/1.1 200 OK\\r\\nContent-Length: 20\\r\\n\\r\\nBO',
}
createServer((socket) => {
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    const path = chunk.toString().split(' ')[1]
    if (path === '/never') return
    if (path === '/stays-open') return socket.write(answers[path], 'latin1')
    if (path === '/two') return socket.write(answers[path], 'latin1')
    socket.end(answers[path] ?? answers['/'], 'latin1')
  })
}).listen(process.env.PORT)
`

/** A fetch app that has taken the channel from the platform's own code in its thread, and answers in frames of its own. */
export const hostileFetchApp = `
import net from 'node:net'
const frame = (type, flags, stream, payload) => {
  const head = Buffer.alloc(12)
  head.writeUInt32LE(payload.length, 0)
  head[4] = type
  head[5] = flags
  head.writeUInt32LE(stream, 8)
  return Buffer.concat([head, payload])
}
const lines = (...all) => { const text = Buffer.from(all.join('\\n'), 'latin1'); const length = Buffer.alloc(4); length.writeUInt32LE(text.length); return Buffer.concat([length, text]) }
const whole = (stream, head, body = 'BO') => frame(2, 1, stream, Buffer.concat([lines(...head), Buffer.from(body)]))
const begun = (stream, ...head) => frame(2, 0, stream, lines('200', 'OK', ...head))
const data = (stream, text, end = 0) => frame(3, end, stream, Buffer.from(text))
const answers = {
  '/status-099': (s) => whole(s, ['099', 'No']),
  '/status-000': (s) => whole(s, ['000', 'No']),
  '/status-600': (s) => whole(s, ['600', 'No']),
  '/status-9999': (s) => whole(s, ['9999', 'No']),
  '/status-word': (s) => whole(s, ['abc', 'No']),
  '/status-negative': (s) => whole(s, ['-20', 'No']),
  '/status-spaced': (s) => whole(s, [' 200', 'No']),
  '/status-nothing': (s) => whole(s, ['', '']),
  '/switch': (s) => whole(s, ['101', 'Switching', 'connection', 'upgrade', 'upgrade', 'x']),
  '/interim': (s) => whole(s, ['103', 'Early']),
  '/reason-control': (s) => whole(s, ['200', 'O\\x01K']),
  '/reason-return': (s) => whole(s, ['200', 'OK\\rX: y']),
  '/reason-nul': (s) => whole(s, ['200', 'O\\0K']),
  '/value-return': (s) => whole(s, ['200', 'OK', 'x', 'a\\rset-cookie: own=1']),
  '/value-nul': (s) => whole(s, ['200', 'OK', 'x', 'a\\0']),
  '/value-control': (s) => whole(s, ['200', 'OK', 'x', 'a\\x1b[31m']),
  '/name-space': (s) => whole(s, ['200', 'OK', 'x y', 'a']),
  '/name-colon': (s) => whole(s, ['200', 'OK', 'x: y', 'a']),
  '/name-return': (s) => whole(s, ['200', 'OK', 'x\\rset-cookie', 'a']),
  '/name-nothing': (s) => whole(s, ['200', 'OK', '', 'a']),
  '/line-injected': (s) => whole(s, ['200', 'OK', 'x', 'a\\nset-cookie: own=1']),
  '/coding': (s) => whole(s, ['200', 'OK', 'transfer-encoding', 'gzip']),
  '/length-more': (s) => whole(s, ['200', 'OK', 'content-length', '1']),
  '/length-less': (s) => whole(s, ['200', 'OK', 'content-length', '9']),
  '/length-twice': (s) => whole(s, ['200', 'OK', 'content-length', '2', 'content-length', '3']),
  '/length-word': (s) => whole(s, ['200', 'OK', 'content-length', '0x2']),
  '/huge-head': (s) => whole(s, ['200', 'OK', 'x', 'a'.repeat(1_000_000)]),
  '/head-torn': (s) => frame(2, 1, s, Buffer.from([255, 255, 0, 0, 1])),
  '/head-empty': (s) => frame(2, 1, s, Buffer.alloc(0)),
  '/data-first': (s) => data(s, 'BO', 1),
  '/request': (s) => frame(1, 1, s, lines('GET', '/')),
  '/type-unknown': (s) => frame(9, 1, s, Buffer.alloc(0)),
  '/length-above-all': (s) => Buffer.concat([Buffer.from([255, 255, 255, 255]), frame(2, 1, s, lines('200', 'OK')).subarray(4)]),
  '/garbage': () => Buffer.from('good day\\r\\n\\r\\n'.repeat(100)),
  '/window-torn': (s) => frame(5, 0, s, Buffer.from([1])),
  '/reset': (s) => frame(4, 1, s, Buffer.from('no')),
  '/reset-control': (s) => frame(4, 1, s, Buffer.from('\\x1b[2J\\r\\nHTTP/1.1 200 OK\\r\\n')),
  '/hang-up': () => null,
  // Bodies that do not end as they began.
  '/cut': (s) => [begun(s, 'content-length', '20'), data(s, 'BO'), null],
  '/cut-reset': (s) => [begun(s), data(s, 'BO'), frame(4, 1, s, Buffer.from('no'))],
  '/short': (s) => [begun(s, 'content-length', '20'), data(s, 'BO', 1)],
  '/long': (s) => [begun(s, 'content-length', '2'), data(s, 'BOHTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nstolen', 1)],
  '/second-head': (s) => [begun(s), data(s, 'BO'), whole(s, ['200', 'OK'])],
  '/over-window': (s) => [begun(s), ...Array.from({ length: 40 }, () => data(s, 'x'.repeat(65_536)))],
  '/stays-open': (s) => [begun(s, 'content-length', '20'), data(s, 'BO')],
  // What costs nobody more than the time to read it.
  '/no-body-204': (s) => whole(s, ['204', 'No'], 'smuggled'),
  '/no-body-304': (s) => whole(s, ['304', 'No'], 'smuggled'),
  '/both': (s) => whole(s, ['200', 'OK', 'transfer-encoding', 'chunked', 'content-length', '2'], 'ok'),
  '/hop-by-hop': (s) => whole(s, ['200', 'OK', 'connection', 'x-own', 'x-own', '1', 'keep-alive', 'timeout=9', 'upgrade', 'h2c', 'x-atelier-deployment', 'forged'], 'ok'),
  '/proto': (s) => whole(s, ['200', 'OK', '__proto__', 'x', 'constructor', 'y'], 'ok'),
  '/strangers': (s) => [...Array.from({ length: 20_000 }, (_, n) => frame(4, 1, 1_000_000 + n, Buffer.from('no'))), whole(s, ['200', 'OK'], 'ok')],
  '/credit': (s) => [...Array.from({ length: 1000 }, () => frame(5, 0, s, Buffer.from([255, 255, 255, 255]))), whole(s, ['200', 'OK'], 'ok')],
}
const write = net.Socket.prototype.write
const paths = []
net.Socket.prototype.write = function (bytes, ...rest) {
  if (!Buffer.isBuffer(bytes) || bytes.length < 12 || bytes[4] !== 2) return write.call(this, bytes, ...rest)
  // One response a frame, in the order in which they were asked for, for the tests ask one after the other.
  const path = paths.shift()
  if (!Object.hasOwn(answers, path)) return path === '/never' ? true : write.call(this, bytes, ...rest)
  for (const piece of [answers[path](bytes.readUInt32LE(8))].flat()) {
    if (piece === null) return this.destroySoon(), true
    write.call(this, piece)
  }
  return true
}
export default { fetch(request) { const { pathname } = new URL(request.url); paths.push(pathname); return new Response('fine') } }
`

/** The paths that one of them knows, in the order in which they stand there. */
export function pathsOf(app: string): string[] {
  return [...app.matchAll(/^ {2}'(\/[\w-]+)':/gm)].map(([, path = '']) => path)
}
