import { once } from 'node:events'
import { chmod } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { processesSaying, ThrowAwayHome } from '../throw-away-home.ts'
import { type Isolate, probe } from './isolate.ts'

const listener = `require('http').createServer((_, response) => response.end('hi')).listen(process.env.PORT)`

test('a command runs as a process of its own, on the port it was given', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const app = `
    const fs = require('fs')
    const server = require('http').createServer((request, response) => response.end(JSON.stringify({
      argv: process.argv.slice(1), cwd: process.cwd(), port: server.address().port, names: Object.keys(process.env).sort(),
      peer: request.socket.remoteAddress, host: request.headers.host, isMainThread: require('worker_threads').isMainThread,
      sockets: fs.readdirSync('/proc/self/fd').filter((fd) => fd > 2).map((fd) => {
        try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch { return '' }
      }).filter((target) => target.startsWith('socket:')).length,
      heap: require('v8').getHeapStatistics().heap_size_limit / 1048576, user: process.getuid(),
    }))).listen(process.env.PORT, () => console.log('listens on PORT'))`
  const isolate = await home.isolate({
    files: { 'src/index.js': app },
    command: `GREETING='hello you' node --expose-gc src/index.js "two words"`,
    env: { OWN: 'mine', PORT: '80' },
    lines,
  })
  const seen = JSON.parse(await answerOf(isolate))
  const directory = `${home.path}/app-0`
  expect(seen).toMatchObject({
    argv: [`${directory}/src/index.js`, 'two words'],
    cwd: directory,
    peer: expect.stringMatching(/(127\.0\.0\.1|^::1)$/),
    host: 'hello.example',
    isMainThread: true,
    user: home.appUser.uid ?? process.getuid?.(),
  })
  expect(seen.names.filter((name: string) => name !== 'ATELIER_JOB' && !name.startsWith('npm_'))).toEqual([
    'GREETING',
    'HOME',
    'HOST',
    'LANG',
    'NODE_ENV',
    'NODE_OPTIONS',
    'OWN',
    'PATH',
    'PORT',
  ])
  expect(seen.port).toBeGreaterThan(9999)
  // Its listener and this connection: neither the platform's socket nor the control pipe.
  expect(seen.sockets).toBe(2)
  expect(seen.heap).toBeLessThan(300)
  await expect.poll(() => lines).toEqual(['listens on PORT'])
  expect(await isolate.stop(5000)).toMatchObject({ cause: 'stopped' })
})

test('a line for a shell is run by one, in its folder, with the programs of dependencies on its path', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const files = {
    'package.json': '{}',
    'web/node_modules/.bin/hello': '#!/bin/sh\nexec node "$@"\n',
    'web/index.js': `console.log('in', process.cwd()); ${listener}`,
  }
  const directory = await home.folder('app', files)
  await chmod(join(directory, 'web/node_modules/.bin/hello'), 0o755)
  const command = 'echo "for $PORT" >/dev/null && hello index.js 2>&1 | sed -u "s/^/app: /"'
  const isolate = await home.isolate({ runs: { kind: 'process', command, folder: 'web' }, directory, files: {}, lines })
  expect(await answerOf(isolate)).toBe('hi')
  await expect.poll(() => lines).toEqual([`app: in ${directory}/web`])
})

test('npm may be part of a start command', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const files = { 'package.json': '{ "scripts": { "hello": "echo from a script" } }', 'index.js': listener }
  const isolate = await home.isolate({ files, command: 'npm run -s hello && node index.js', lines })
  expect(await answerOf(isolate)).toBe('hi')
  await expect.poll(() => lines).toEqual(['from a script'])
})

test('what a shell has started is waited for when the app is told to stop', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const app = `
    const server = require('http').createServer((_, response) => {
      console.log('started')
      setTimeout(() => response.end('whole'), 400)
    }).listen(process.env.PORT)
    process.on('SIGTERM', () => server.close(() => setTimeout(() => console.log('closed'), 300)))`
  // The second command keeps the shell from giving its place to Node; SIGTERM ends it at once.
  const isolate = await home.isolate({ files: { 'index.js': app }, command: 'node index.js; echo after', lines })
  await isolate.ready(60_000)
  const answer = answerOf(isolate)
  await expect.poll(() => lines).toEqual(['started'])
  const stopped = isolate.stop(10_000)
  expect(await answer).toBe('whole')
  expect(await stopped).toMatchObject({ cause: 'stopped' })
  expect(lines).toEqual(['started', 'closed'])
})

test('an app that resets a connection breaks it for the other side', async () => {
  await using home = await ThrowAwayHome.make()
  const app = `require('net').createServer((socket) => socket.once('data', () => socket.resetAndDestroy())).listen(process.env.PORT)`
  const isolate = await home.isolate({ files: { 'index.js': app }, command: 'node index.js -' })
  await isolate.ready(60_000)
  const client = connect(isolate.socketPath)
  client
    .on('error', () => undefined)
    .resume()
    .write('hello')
  await once(client, 'close')
})

test('a program that the command starts may be the one that listens', async () => {
  await using home = await ThrowAwayHome.make()
  const launcher = `require('child_process').spawn(process.execPath, ['server.js'], { stdio: 'inherit' })`
  const files = { 'index.js': launcher, 'server.js': listener }
  const isolate = await home.isolate({ files, command: 'node ./index.js' })
  expect(await answerOf(isolate)).toBe('hi')

  const inThread = await home.isolate({ files })
  const failed = () => inThread.ready(300).catch((thrown: unknown) => thrown)
  await expect.poll(failed, { timeout: 20_000 }).toMatchObject({
    code: 'APP_NOT_LISTENING',
    message: expect.stringMatching(
      /^node index\.js runs, but did not call listen\(\) .* a program it started listens on port 3000$/,
    ),
  })
  expect(inThread.needsProcess()).toBe('a program it started listens on port 3000')
})

test.for([
  ['localhost', `listen(process.env.PORT, 'localhost')`],
  ['IPv6 alone', `listen({ port: process.env.PORT, host: '::1', ipv6Only: true })`],
  ['every address', `listen(process.env.PORT, '0.0.0.0')`],
] as const)('an app may listen on %s', async ([, call]) => {
  await using home = await ThrowAwayHome.make()
  const app = `require('http').createServer((_, response) => response.end('hi')).${call}`
  const isolate = await home.isolate({ files: { 'index.js': app }, command: 'node index.js -' })
  expect(await answerOf(isolate)).toBe('hi')
})

type Failure = {
  app?: string
  command?: string
  files?: Record<string, string>
  says: RegExp
  code?: string
  /** It runs on, and what is said of it changes with what is seen of it. */
  runsOn?: boolean
}

// What a person reads in the push when the app does not come up.
const failures: Record<string, Failure> = {
  'a program that is not there': {
    command: 'ts-node src/index.ts',
    says: /^ts-node src\/index\.ts exited with 127: there is no program ts-node; a package that brings it has to be in "dependencies"/,
  },
  'a program that a shell does not find': {
    command: 'true && nest start',
    says: /^true && nest start exited with 127: there is no program nest; a package that brings it/,
  },
  'a file that is not there': {
    command: './bin/app --port 1',
    says: /exited with 127: there is no \.\/bin\/app; is it committed, or made by the build\?/,
  },
  'a file that may not be executed': {
    command: './run',
    files: { run: 'echo' },
    says: /exited with 126: \.\/run may not be executed; mark it so: git update-index --chmod=\+x run/,
  },
  'a program in the background': {
    command: 'node index.js &',
    app: listener,
    says: /^node index\.js & exited with 0 before it listened, and left a program in the background: a start command has to stay in front/,
    code: 'APP_NOT_LISTENING',
  },
  'an app that never listens': {
    app: `console.error('still here'); setInterval(() => {}, 1000)`,
    says: /^node index\.js - runs, but did not listen on PORT \(\d+\) within 0\.3 s; start an HTTP server on the port that the environment variable PORT names\n {2}still here$/,
    code: 'APP_NOT_LISTENING',
    runsOn: true,
  },
  'an app on a port of its own choice': {
    app: `require('http').createServer(() => {}).listen(14123)`,
    says: /did not listen on PORT \(\d+\) within 0\.3 s; it listens on port 14123: take the port from the environment variable PORT$/,
    code: 'APP_NOT_LISTENING',
    runsOn: true,
  },
  'an app on a unix socket': {
    app: `require('http').createServer(() => {}).listen(require('os').tmpdir() + '/mine-${process.pid}.sock')`,
    says: /it listens on the unix socket \S+\/mine-\d+\.sock: take the port/,
    code: 'APP_NOT_LISTENING',
    runsOn: true,
  },
  'a package that is not installed': {
    app: `require('pg')`,
    says: /exited with 1: module not found: pg; is it in "dependencies"/,
  },
  'a package that an ES module imports': {
    command: 'node --no-warnings index.mjs',
    files: { 'index.mjs': `import pg from 'pg'` },
    says: /exited with 1: module not found: pg; is it in "dependencies"/,
  },
  'a variable that is not set': {
    app: `if (!process.env.DATABASE_URL) throw new Error('DATABASE_URL is not set')`,
    says: /exited with 1: DATABASE_URL is not set; set it: atelier env set DATABASE_URL=…\n/,
  },
  'a syntax error': { app: 'const a = ;', says: /syntax error in index\.js:1: Unexpected token ';'/ },
  'a throw': {
    app: 'const settings = undefined; settings.port',
    says: /exited with 1: TypeError: Cannot read properties of undefined \(reading 'port'\)\n/,
  },
  'a rejection that nobody handles': {
    app: `Promise.reject(new RangeError('too far'))`,
    says: /exited with 1: RangeError: too far/,
  },
  'a port that is taken': {
    app: `require('http').createServer().listen(14124, () => require('http').createServer().listen(14124))`,
    says: /exited with 1: it listens on a fixed port \(listen EADDRINUSE.*14124\); listen on process\.env\.PORT/,
  },
  'an exit': { app: 'process.exit(9)', says: /^node index\.js - exited with 9 before it listened$/ },
  'an end by a signal': {
    app: `process.kill(process.pid, 'SIGKILL')`,
    says: /^node index\.js - was ended by SIGKILL before it listened$/,
  },
}

test.for(Object.entries(failures))('%s is named', async ([, failure]) => {
  await using home = await ThrowAwayHome.make()
  const { app = '', command = 'node index.js -', files, says, code = 'APP_CRASHED', runsOn } = failure
  const isolate = await home.isolate({ files: { 'index.js': app, ...files }, command })
  const failed = () => isolate.ready(runsOn ? 300 : 20_000).catch((thrown: unknown) => thrown)
  await expect.poll(failed, { timeout: 20_000 }).toMatchObject({ code, message: expect.stringMatching(says) })
  expect(isolate.needsProcess()).toBeNull()
})

test.for([
  ['ends', 'throw error'],
  ['goes on without listening', `console.log('taken')`],
] as const)('an app whose port somebody else took, and that %s, is started again on another', async ([, reaction]) => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const app = `
    console.log('PORT ' + process.env.PORT)
    setInterval(() => {}, 1000)
    setTimeout(() => require('http').createServer((_, response) => response.end('mine'))
      .on('error', (error) => { ${reaction} }).listen(process.env.PORT), 2_000)`
  const isolate = await home.isolate({ files: { 'index.js': app }, command: 'node index.js -', lines })
  const ports = () => lines.flatMap((line) => /^PORT (\d+)$/.exec(line)?.[1] ?? [])
  await expect.poll(ports, { interval: 5 }).toHaveLength(1)
  await using _other = await listenAt(Number(ports()[0]))
  expect(await answerOf(isolate)).toBe('mine')
  expect(new Set(ports()).size).toBe(2)
})

test('in a network of its own PORT is 3000, and what insists on a port gets it', async () => {
  await using home = await ThrowAwayHome.make()
  const [first, second] = [await home.network(), await home.network()]
  const fixed = `require('http').createServer((_, response) => response.end('fixed ' + process.env.PORT)).listen(3000)`
  const files = { 'index.js': fixed }
  const old = await home.isolate({ files, command: 'node index.js -', network: first })
  const next = await home.isolate({ files, command: 'node index.js -', network: second })
  expect(await Promise.all([answerOf(old), answerOf(next)])).toEqual(['fixed 3000', 'fixed 3000'])
})

test('in a network of its own a single other port is used, until PORT is', async () => {
  await using home = await ThrowAwayHome.make()
  const network = await home.network()
  const lines: string[] = []
  const app = `
    const { createServer } = require('http')
    const late = createServer((_, response) => response.end('PORT'))
    createServer((_, response) => response.end('other', () => late.listening || late.listen(process.env.PORT))).listen(8080)`
  const isolate = await home.isolate({ files: { 'index.js': app }, command: 'node index.js -', network, lines })
  expect(await answerOf(isolate)).toBe('other')
  await expect
    .poll(() => lines)
    .toEqual([
      'atelier: the app listens on port 8080 and not on PORT (3000); port 8080 is used, and listening on PORT would start it 5 s sooner',
    ])
  await expect.poll(() => answerOf(isolate)).toBe('PORT')
  await expect.poll(() => lines[1]).toBe('atelier: the app listens on PORT (3000) now, and that is used')
})

test('a daemon that left everything behind is gone when the command ends', async () => {
  await using home = await ThrowAwayHome.make()
  const seconds = `6${process.pid}`
  const command = `setsid setsid sleep ${seconds} & exec node index.js`
  const isolate = await home.isolate({ files: { 'index.js': listener }, command })
  await isolate.ready(60_000)
  await expect.poll(() => processesSaying(`sleep\0${seconds}`)).toHaveLength(1)
  await isolate.stop(5000)
  expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
})

test.for([
  ['is not for threads', `process.setgid(process.getgid())`, /^process\.setgid\(\) is not supported in workers$/],
  [
    'counts on its signals',
    `process.on('SIGUSR2', () => {}); process.kill(process.pid, 'SIGUSR2')`,
    /^it was ended by SIGUSR2/,
  ],
  [
    'crashes natively',
    'process.abort?.(); process.kill(process.pid, 11)',
    /^(it was ended by SIG|process\.abort\(\) is not supported)/,
  ],
  [
    'speaks of threads',
    `throw new Error('can only be used in the main thread')`,
    /^can only be used in the main thread$/,
  ],
] as const)('an app that %s may do better as a process', async ([, app, why]) => {
  await using home = await ThrowAwayHome.make()
  const isolate = await home.isolate({ files: { 'index.js': app } })
  await expect(isolate.ready(60_000)).rejects.toMatchObject({ code: 'APP_CRASHED' })
  expect(isolate.needsProcess()).toMatch(why)
})

test.for([
  ['a missing module', `require('pg')`],
  ['an add-on that is no library', `process.dlopen({ exports: {} }, __filename)`],
  ['an exit', 'process.exit(3)'],
  ['being killed', `process.kill(process.pid, 'SIGKILL')`],
] as const)('%s is no reason for a process', async ([, app]) => {
  await using home = await ThrowAwayHome.make()
  const isolate = await home.isolate({ files: { 'index.js': app } })
  await expect(isolate.ready(60_000)).rejects.toThrow()
  expect(isolate.needsProcess()).toBeNull()
})

async function answerOf(isolate: Isolate): Promise<string> {
  await isolate.ready(60_000)
  const { body } = await probe({
    socketPath: isolate.socketPath,
    speaks: 'http',
    path: '/',
    timeoutMs: 30_000,
    host: 'hello.example',
  })
  return body
}

async function listenAt(port: number): Promise<Server> {
  // Who only asks whether somebody is there hangs up before the answer.
  const server = createServer((socket) => socket.on('error', () => socket.destroy()).end('somebody else'))
  await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening))
  return server
}
