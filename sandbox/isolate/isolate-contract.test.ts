import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { processesSaying, ThrowAwayHome } from '../throw-away-home.ts'
import type { Isolate } from './isolate.ts'

const isRoot = process.getuid?.() === 0

// What holds of an app whether a thread or a process runs it.
describe.each(['thread', 'process'] as const)('in a %s', (kind) => {
  const start = (home: ThrowAwayHome, app: string, given: { lines?: string[]; memoryMb?: number } = {}) =>
    home.isolate({
      files: { 'index.js': app },
      ...(kind === 'process' && { command: 'node index.js' }),
      ...given,
    })

  test('server-sent events, an upgrade and a hundred requests at once go through', async () => {
    await using home = await ThrowAwayHome.make()
    const lines: string[] = []
    const app = `
      const server = require('http').createServer((request, response) => {
        if (request.url !== '/events') return response.end(request.url)
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        let count = 0
        const timer = setInterval(() => response.write('data: ' + ++count + '\\n\\n'), 20)
        request.on('close', () => { clearInterval(timer); console.log('left') })
      }).listen(process.env.PORT)
      server.on('upgrade', (request, socket) => {
        socket.write('HTTP/1.1 101 Switching Protocols\\r\\nupgrade: echo\\r\\nconnection: upgrade\\r\\n\\r\\n')
        socket.pipe(socket)
      })`
    const isolate = await start(home, app, { lines })
    await isolate.ready(60_000)

    const paths = Array.from({ length: 100 }, (_, index) => `/${index}`)
    expect(await Promise.all(paths.map((path) => text(isolate, path)))).toEqual(paths)

    const events = await open(isolate, '/events')
    const seen: string[] = []
    for await (const event of events.setEncoding('utf8')) if (seen.push(event) === 3) break
    expect(seen.join('')).toContain('data: 3\n\n')
    await expect.poll(() => lines).toEqual(['left'])

    const headers = { upgrade: 'echo', connection: 'upgrade' }
    const [, socket] = await once(request({ socketPath: isolate.socketPath, headers }).end(), 'upgrade')
    socket.write('ping')
    expect(String((await once(socket, 'data'))[0])).toBe('ping')
    socket.destroy()
  })

  test('a body of 64 MB comes in and goes out whole, and a side that does not read holds the other', async () => {
    await using home = await ThrowAwayHome.make()
    const lines: string[] = []
    const app = `
      const hash = (name) => require('crypto').createHash(name)
      require('http').createServer(async (request, response) => {
        if (request.method === 'POST') {
          const sum = hash('sha256')
          for await (const chunk of request) sum.update(chunk)
          return response.end(sum.digest('hex'))
        }
        let sent = 0
        const more = () => {
          while (sent < 64) if (!response.write(Buffer.alloc(1048576, ++sent))) return response.once('drain', more)
          response.end()
        }
        more()
        setTimeout(() => console.log(sent < 32 ? 'held' : 'not held: ' + sent), 500)
      }).listen(process.env.PORT)`
    const isolate = await start(home, app, { lines })
    await isolate.ready(60_000)
    const answer = await open(isolate, '/')
    answer.pause()
    await expect.poll(() => lines).toEqual(['held'])
    let bytes = 0
    let wrong = 0
    for await (const chunk of answer) {
      const expected = Math.floor(bytes / 1_048_576) + 1
      if (chunk[0] !== expected) wrong++
      bytes += chunk.length
    }
    expect([bytes, wrong]).toEqual([64 * 1_048_576, 0])

    const body = Buffer.alloc(64 * 1_048_576, 'some text ')
    const sending = request({ socketPath: isolate.socketPath, method: 'POST', agent: false })
    sending.end(body)
    const [answered] = await once(sending, 'response')
    const { createHash } = await import('node:crypto')
    expect(Buffer.concat(await answered.toArray()).toString()).toBe(createHash('sha256').update(body).digest('hex'))
  })

  test('the end of one direction leaves the other open', async () => {
    await using home = await ThrowAwayHome.make()
    const app = `
      const server = require('net').createServer({ allowHalfOpen: true }, (socket) => {
        let heard = ''
        socket.on('data', (chunk) => { heard += chunk }).on('end', () => setTimeout(() => socket.end('heard ' + heard), 100))
      })
      server.listen(process.env.PORT)`
    const isolate = await start(home, app)
    await isolate.ready(60_000)
    const socket = connect({ path: isolate.socketPath, allowHalfOpen: true })
    socket.end('all I had to say')
    expect(Buffer.concat(await socket.toArray()).toString()).toBe('heard all I had to say')
  })

  test('who breaks a connection off breaks it on both sides', async () => {
    await using home = await ThrowAwayHome.make()
    const lines: string[] = []
    const app = `
      require('http').createServer((request, response) => {
        request.on('close', () => console.log('closed ' + request.url))
        if (request.url === '/wait') return response.write('begun')
        response.writeHead(200, { 'content-length': 1000 })
        response.write('part', () => request.socket.destroy())
      }).listen(process.env.PORT)`
    const isolate = await start(home, app, { lines })
    await isolate.ready(60_000)
    const waiting = await open(isolate, '/wait')
    await once(waiting, 'data')
    waiting.destroy()
    await expect.poll(() => lines).toEqual(['closed /wait'])
    const cut = await open(isolate, '/cut')
    await expect(cut.toArray()).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('who leaves while an app goes on sending is gone for the app, even if it takes an end for half of one', async () => {
    await using home = await ThrowAwayHome.make()
    const lines: string[] = []
    const app = `
      require('net').createServer({ allowHalfOpen: true }, (socket) => {
        const timer = setInterval(() => socket.write('more'), 10)
        socket.on('data', () => {}).on('error', () => {}).on('close', () => { clearInterval(timer); console.log('gone') })
      }).listen(process.env.PORT)`
    const isolate = await start(home, app, { lines })
    await isolate.ready(60_000)
    const asked = connect({ path: isolate.socketPath, allowHalfOpen: true })
    asked.end('all I had to say')
    await once(asked, 'data')
    lines.length = 0
    asked.destroy()
    await expect.poll(() => lines).toEqual(['gone'])
  })

  test('a connection is kept alive for one request after another', async () => {
    await using home = await ThrowAwayHome.make()
    const app = `
      let connections = 0
      require('http').createServer((request, response) => response.end(String(connections)))
        .on('connection', () => connections++).listen(process.env.PORT)`
    const isolate = await start(home, app)
    await isolate.ready(60_000)
    const before = Number(await text(isolate))
    const socket = connect(isolate.socketPath)
    let heard = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      heard += chunk
    })
    for (let turn = 1; turn <= 3; turn++) {
      socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
      await expect.poll(() => heard.split(`\r\n\r\n${before + 1}`).length - 1).toBe(turn)
    }
    socket.destroy()
  })

  test('SIGTERM comes once, its handler may take its time, and its exit code counts', async () => {
    await using home = await ThrowAwayHome.make()
    const lines: string[] = []
    const app = `
      const server = require('http').createServer((request, response) => {
        console.log('started')
        setTimeout(() => response.end('whole'), 400)
      }).listen(process.env.PORT)
      process.on('SIGTERM', (signal) => {
        console.log('got', signal)
        server.close(() => setTimeout(() => { console.log('closed'); process.exit(7) }, 100))
      })`
    const isolate = await start(home, app, { lines })
    await isolate.ready(60_000)
    const answer = text(isolate)
    await expect.poll(() => lines).toEqual(['started'])
    const stopped = isolate.stop(10_000)
    expect(await answer).toBe('whole')
    expect(await stopped).toMatchObject({ code: 7, signal: null, cause: 'stopped' })
    expect(lines).toEqual(['started', 'got SIGTERM', 'closed'])
  })

  test('an app that never ends when asked is killed after the grace time, with what it started', async () => {
    await using home = await ThrowAwayHome.make()
    const seconds = `7${process.pid}${kind.length}`
    const app = `
      process.on('SIGTERM', () => {})
      require('http').createServer((_, response) => { response.end(); console.log('spins'); for (;;); }).listen(process.env.PORT)
      require('child_process').spawn('sleep', ['${seconds}'], { detached: true, stdio: 'ignore' })`
    const lines: string[] = []
    const isolate = await start(home, app, { lines })
    await isolate.ready(60_000)
    const asking = open(isolate, '/').catch(() => null)
    await expect.poll(() => lines).toEqual(['spins'])
    expect(await processesSaying(`sleep\0${seconds}`)).toHaveLength(1)
    expect(await isolate.stop(300)).toMatchObject({ signal: 'SIGKILL', cause: 'stopped' })
    await asking
    expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
  })

  test('output is whole even when the app ends in the next moment', async () => {
    await using home = await ThrowAwayHome.make()
    const lines: string[] = []
    const app = `
      for (let i = 0; i < 3000; i++) console.log('line ' + i)
      process.stdout.write('no end of line: ✓')
      console.error('last word')
      process.exit(4)`
    const isolate = await start(home, app, { lines })
    await expect(isolate.ready(60_000)).rejects.toMatchObject({ code: 'APP_CRASHED' })
    expect(await isolate.exited).toMatchObject({ code: 4, signal: null, cause: 'exit' })
    const numbers = Array.from({ length: 3000 }, (_, index) => `line ${index}`)
    expect(lines.filter((line) => line.startsWith('line'))).toEqual(numbers)
    expect(lines).toContain('no end of line: ✓')
    expect(lines).toContain('last word')
  })

  test('an exit in a request ends the app with its code, after what it had answered', async () => {
    await using home = await ThrowAwayHome.make()
    const app = `require('http').createServer((_, response) => {
      response.end('x'.repeat(300_000) + 'end', () => process.exit(0))
    }).listen(process.env.PORT)`
    const isolate = await start(home, app)
    await isolate.ready(60_000)
    expect((await text(isolate)).slice(-4)).toBe('xend')
    const { code, cause, error } = await isolate.exited
    expect([code, cause, error.message]).toEqual([0, 'exit', 'node index.js exited with 0'])
  })

  test('an app that crashes after it was ready says why', async () => {
    await using home = await ThrowAwayHome.make()
    const app = `require('http').createServer(() => { throw new Error('later') }).listen(process.env.PORT)`
    const isolate = await start(home, app)
    await isolate.ready(60_000)
    await expect(text(isolate)).rejects.toThrow()
    const { code, cause, error } = await isolate.exited
    expect([code, cause, error.message.split('\n')[0]]).toEqual([
      1,
      'exit',
      'node index.js exited with 1: Error: later',
    ])
  })

  test('a heap that is too large and buffers that are too large end the app, with the reason', async () => {
    await using home = await ThrowAwayHome.make()
    const heap = `const held = []; setInterval(() => { for (let i = 0; i < 1e5; i++) held.push({ i, text: 'x' + i }) }, 1)
      require('http').createServer(() => {}).listen(process.env.PORT)`
    const first = await start(home, heap, { memoryMb: 128 })
    const exit = await first.exited
    expect(exit.error.code).toBe('APP_CRASHED')
    // V8's limit and that of the whole host lie close together in so small an app.
    expect(exit.error.message).toMatch(
      /it ran out of memory; an app here has 128 MB|node index\.js used more than 128 MB of memory/,
    )

    const buffers = `const held = []; setInterval(() => held.push(Buffer.alloc(1e7, 1)), 10)
      require('http').createServer(() => {}).listen(process.env.PORT)`
    const second = await start(home, buffers, { memoryMb: 128 })
    expect((await second.exited).error.message).toContain('used more than 128 MB of memory')
  })

  test("an app sees neither the platform's environment nor other processes", async () => {
    await using home = await ThrowAwayHome.make()
    const app = `
      const fs = require('fs')
      const readable = fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).flatMap((pid) => {
        try { return fs.readFileSync('/proc/' + pid + '/environ', 'utf8').split('\\0') } catch { return [] }
      })
      require('http').createServer((_, response) => response.end(JSON.stringify(readable))).listen(process.env.PORT)`
    process.env['PLATFORM_SECRET'] = 'swordfish'
    const isolate = await start(home, app)
    await isolate.ready(60_000)
    const seen: string[] = JSON.parse(await text(isolate))
    expect(seen).toContain('NODE_ENV=production')
    expect(seen.join('\n')).not.toContain('swordfish')
  })

  test('an app runs under its own user and cannot change what it was deployed with', async () => {
    await using home = await ThrowAwayHome.make()
    const app = `
      let failure = null
      try { require('fs').appendFileSync(__filename, '// changed') } catch ({ code }) { failure = code }
      require('http').createServer((_, response) => response.end(JSON.stringify([process.getuid(), failure]))).listen(process.env.PORT)`
    const isolate = await start(home, app)
    await isolate.ready(60_000)
    const [uid, failure] = JSON.parse(await text(isolate))
    expect(uid).toBe(isRoot ? home.appUser.uid : process.getuid?.())
    if (isRoot) expect(failure).toMatch(/^(EACCES|EROFS)$/)
  })
})

function open({ socketPath }: Isolate, path: string): Promise<IncomingMessage> {
  return new Promise((answered, failed) => {
    request({ socketPath, path, agent: false, headers: { host: 'hello.example' } }, answered)
      .once('error', failed)
      .end()
  })
}

async function text(isolate: Isolate, path = '/'): Promise<string> {
  return Buffer.concat(await (await open(isolate, path)).toArray()).toString()
}
