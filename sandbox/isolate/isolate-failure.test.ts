import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { ThrowAwayHome } from '../throw-away-home.ts'

type Case = {
  app: string
  entry?: string
  kind?: 'fetch' | 'server'
  files?: Record<string, string>
  says: RegExp
  code?: string
}

// What a person reads in the push when the app does not come up: first the sentence, then the app's own last words.
const cases: Record<string, Case> = {
  'a package that is not installed': {
    app: `require('pg')`,
    says: /^node src\/index\.js exited with 1: module not found: pg; is it in "dependencies"/,
  },
  'a package that an ES module imports and that is not installed': {
    app: `import pg from 'pg'`,
    entry: 'src/index.mjs',
    says: /^node src\/index\.mjs exited with 1: module not found: pg; is it in "dependencies"/,
  },
  'a file that is not committed': {
    app: `require('./Routes')`,
    says: /module not found: \.\/Routes; is the file committed, and its name spelt with the same capitals\?/,
  },
  'a variable the app checks for': {
    app: `if (!process.env.DATABASE_URL) throw new Error('DATABASE_URL is not set')`,
    says: /exited with 1: DATABASE_URL is not set; set it: atelier env set DATABASE_URL=…\n/,
  },
  'a variable the app checks for before it exits': {
    app: `if (!process.env.STRIPE_KEY) { console.error('Missing required environment variable STRIPE_KEY'); process.exit(2) }`,
    says: /exited with 2: STRIPE_KEY is not set \(Missing required environment variable STRIPE_KEY\)/,
  },
  'a variable the app takes for granted': {
    app: `const url = new URL(process.env.DATABASE_URL)`,
    says: /exited with 1: DATABASE_URL is not set \(Invalid URL\); set it: atelier env set DATABASE_URL=…\n/,
  },
  'a syntax error in a CommonJS file': {
    app: 'const a = ;',
    says: /syntax error in src\/index\.js:1: Unexpected token ';'/,
  },
  'a syntax error in an imported ES module': {
    app: `import './routes.mjs'`,
    entry: 'src/index.mjs',
    files: { 'src/routes.mjs': '\n\nexport const a = ;\n' },
    says: /syntax error in src\/routes\.mjs:3: Unexpected token ';'[\s\S]*export const a = ;/,
  },
  'a throw at the top level': {
    app: `const settings = undefined; settings.port`,
    says: /exited with 1: TypeError: Cannot read properties of undefined \(reading 'port'\)\n[\s\S]*src\/index\.js:1:/,
  },
  'a rejection that nobody handles': {
    app: `Promise.reject(new RangeError('too far'))`,
    says: /exited with 1: RangeError: too far/,
  },
  'something thrown that is no error': { app: `throw 'just text'`, says: /exited with 1: .*just text/ },
  'an exit before listening': {
    app: `console.error('nothing to do')`,
    says: /^node src\/index\.js exited with 0 before it listened\n {2}nothing to do$/,
    code: 'APP_NOT_LISTENING',
  },
  'an exit of its own making': {
    app: `process.exit(9)`,
    says: /^node src\/index\.js exited with 9 before it listened$/,
  },
  'a process that kills itself': {
    app: `process.kill(process.pid, 'SIGKILL')`,
    says: /was ended by SIGKILL before it listened/,
  },
  'an await that never ends': {
    app: `await new Promise(() => {})`,
    entry: 'src/index.mjs',
    says: /exited with 13: .*await/,
  },
  'a native add-on that was built for something else': {
    app: `process.dlopen({ exports: {} }, __dirname + '/addon.node')`,
    files: { 'src/addon.node': 'not a shared object' },
    says: /addon\.node cannot be loaded in a worker thread/,
  },
  'a database that is not there': {
    app: `require('net').connect(1, '127.0.0.1')`,
    says: /nothing answers at the address it connects to \(connect ECONNREFUSED 127\.0\.0\.1:1\)/,
  },
  'a server that ends TLS itself': {
    app: `require('https').createServer({}, () => {}).listen(443)`,
    says: /this server speaks TLS itself; listen with node:http/,
  },
  'a fetch app without a handler': {
    app: `export const fetch = 1`,
    entry: 'src/index.mjs',
    kind: 'fetch',
    says: /index\.mjs has no default export with a fetch\(request\) function/,
  },
  'an entry that is missing': { app: '', entry: 'src/main.js', says: /module not found: src\/main\.js/ },
}

test.for(Object.entries(cases))('%s is named', async ([, { app, entry = 'src/index.js', kind, files, says, code }]) => {
  await using home = await ThrowAwayHome.make()
  const isolate = await home.isolate({
    entry,
    kind,
    files: { [entry === 'src/main.js' ? 'src/index.js' : entry]: app, ...files },
  })
  const failure = await isolate.ready(60_000).then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(failure).toMatchObject({ code: code ?? 'APP_CRASHED', message: expect.stringMatching(says) })
  expect((await isolate.exited).error).toBe(failure)
})

test('an app that runs but never listens is told so, and is left running', async () => {
  await using home = await ThrowAwayHome.make()
  const files = { 'index.js': `console.error('still here'); setInterval(() => {}, 1000)` }
  const isolate = await home.isolate({ entry: 'index.js', files })
  await expect(isolate.ready(500)).rejects.toMatchObject({
    code: 'APP_NOT_LISTENING',
    message: expect.stringMatching(/^node index\.js runs, but did not call listen\(\) within 0\.5 s; .*PORT/),
  })
  expect(await isolate.stop(5000)).toMatchObject({ code: 0, cause: 'stopped' })
})

test('an app that crashes after it was ready says why', async () => {
  await using home = await ThrowAwayHome.make()
  const files = {
    'index.js': `require('http').createServer(() => { throw new Error('later') }).listen(0)`,
  }
  const isolate = await home.isolate({ entry: 'index.js', files })
  await isolate.ready(30_000)
  connect(isolate.socketPath)
    .on('error', () => undefined)
    .write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const { code, cause, error } = await isolate.exited
  expect([code, cause, error.message.split('\n')[0]]).toEqual([1, 'exit', 'node index.js exited with 1: Error: later'])
})

test('an app that lies on its control pipe harms only itself', async () => {
  await using home = await ThrowAwayHome.make()
  const files = {
    'index.js': `const fs = require('fs')
      fs.writeSync(5, 'no json\\n{"error":null}\\n{"error":{"message":{}}}\\n[1]\\n')
      for (let i = 0; i < 50; i++) try { fs.writeSync(5, 'x'.repeat(60_000)) } catch {}
      require('http').createServer((_, response) => response.end('hi')).listen(0)`,
  }
  const isolate = await home.isolate({ entry: 'index.js', files })
  await expect(isolate.ready(1000)).rejects.toMatchObject({ code: 'APP_NOT_LISTENING' })
  expect(await isolate.stop(0)).toMatchObject({ cause: 'stopped' })
})
