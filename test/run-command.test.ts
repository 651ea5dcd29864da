import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { checkout } from './support/platform.ts'
import { connectToHome } from './support/platform-database.ts'
import { processesOf } from './support/processes.ts'

const soon = { timeout: 60_000, interval: 50 }

const server = `
import { createServer } from 'node:http'
createServer((request, response) => response.end('hello')).listen(process.env.PORT)
`
const files = {
  'package.json': JSON.stringify({
    name: 'shop',
    type: 'module',
    scripts: { start: 'node server.js', seed: 'node seed.js' },
  }),
  'server.js': server,
  'seed.js':
    "import { writeFileSync } from 'node:fs'\nwriteFileSync('/data/seeded', 'yes')\nconsole.log('seeded', process.env.GREETING)",
  'atelier.config.json': JSON.stringify({ data: true, database: { provision: true } }),
}

async function deployShop(atelier: Atelier): Promise<string> {
  const app = await atelier.createApp()
  await atelier.cli(['env', 'set', 'GREETING=good-morning', 'SECRET=s3cret-value', '--app', app.name])
  const { code, stderr } = await atelier.cli(['deploy', await atelier.directory(files), '--app', app.name])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return app.name
}

test('a command runs with the files, the variables, the data, the database and the Node of what is live', async ({
  atelier,
}) => {
  const app = await deployShop(atelier)
  const run = (...command: string[]) => atelier.cli(['run', '--app', app, '--', ...command])

  expect(await run('npm', 'run', '--silent', 'seed')).toEqual({ code: 0, stdout: 'seeded good-morning\n', stderr: '' })
  expect(await run('cat', '/data/seeded')).toMatchObject({ code: 0, stdout: 'yes' })
  const database = `
    const url = new URL(process.env.DATABASE_URL)
    const socket = require('node:net').connect(url.port, url.hostname).on('connect', () => { console.log(url.protocol); socket.end() })
  `
  expect(await run('node', '-e', database)).toMatchObject({ code: 0, stdout: 'postgres:\n' })
  expect((await run('node', '--version')).stdout).toBe(`${process.version}\n`)
  expect(await run('node', '-e', 'require("node:fs").writeFileSync("server.js", "")')).toMatchObject({ code: 1 })
  expect((await atelier.get(app, '/')).body).toBe('hello')
})

test('what it writes comes apart and as it is, its exit code is that of the command, and words go as they were typed', async ({
  atelier,
}) => {
  const app = await deployShop(atelier)
  const run = (...command: string[]) => atelier.cli(['run', '--app', app, '--', ...command])

  expect(await run('sh', '-c', 'echo out; echo err >&2; exit 7')).toEqual({ code: 7, stdout: 'out\n', stderr: 'err\n' })
  expect(await run('sh', '-c', 'kill -9 $$')).toMatchObject({ code: 137 })
  const words = ['a b', "it's", '"$HOME"', 'two\nlines', '', '$(id)', '--json', '-n', '*', ';exit 3', '\u00e4\u{1f600}']
  const echoed = await run('node', '-p', 'JSON.stringify(process.argv.slice(1))', '--', ...words)
  expect(JSON.parse(echoed.stdout)).toEqual(words)
  const missing = await run('no-such-program')
  expect(missing).toMatchObject({ code: 127, stdout: '' })
  expect(missing.stderr).toContain('no-such-program')

  const lines = (await atelier.cli(['run', '--json', '--app', app, '--', 'echo', 'hello'])).stdout.trim().split('\n')
  const events = lines.map((line) => JSON.parse(line)).filter(({ type }) => type !== 'waiting')
  expect(events.map(({ type }) => type)).toEqual(['run', 'running', 'output', 'end'])
  expect(Buffer.from(events[2].data, 'base64').toString()).toBe('hello\n')
  expect(events[3]).toMatchObject({ exit_code: 0, cause: 'exit' })
})

test('standard input goes in, also much of it and through a reader that takes its time; without one it is empty', async ({
  atelier,
}) => {
  const app = await deployShop(atelier)
  const input = Buffer.alloc(3_000_000, 'all work and no play\n').toString()
  const count =
    'let n = 0; process.stdin.on("data", (c) => { n += c.length; process.stdin.pause(); setTimeout(() => process.stdin.resume(), 1) }).on("end", () => console.log(n))'
  expect(await atelier.cli(['run', '--app', app, '--', 'node', '-e', count], { input })).toMatchObject({
    code: 0,
    stdout: '3000000\n',
  })
  expect(await atelier.cli(['run', '-n', '--app', app, '--', 'cat'], { input: 'unheard' })).toEqual({
    code: 0,
    stdout: '',
    stderr: '',
  })
  expect(await atelier.cli(['run', '--app', app, '--', 'sh'], { input: 'echo one\necho two\nexit 4\n' })).toEqual({
    code: 4,
    stdout: 'one\ntwo\n',
    stderr: '',
  })
  // It reads none of it, and has ended before all has been sent.
  expect(await atelier.cli(['run', '--app', app, '--', 'true'], { input })).toMatchObject({ code: 0 })
})

test('ten megabytes come whole and in order, and the last of them after the command has ended', async ({ atelier }) => {
  const app = await deployShop(atelier)
  const write =
    'let text = ""; for (let i = 0; i < 1_000_000; i++) text += String(i).padStart(9) + "\\n"; process.stdout.write(text)'
  const { code, stdout } = await atelier.cli(['run', '--app', app, '--', 'node', '-e', write])
  expect(code).toBe(0)
  expect(stdout).toHaveLength(10_000_000)
  expect(stdout.slice(-10)).toBe('   999999\n')
  expect(stdout.split('\n').findIndex((line, index) => line !== '' && Number(line) !== index)).toBe(-1)
})

test('Ctrl-C ends it behind the walls, also one that will not hear of it; nothing of it is left', async ({
  atelier,
}) => {
  const app = await deployShop(atelier)
  const heard = await begin(atelier, app, 'process.on("SIGTERM", () => { console.log("cleaned up"); process.exit(0) })')
  heard.child.kill('SIGINT')
  expect(await heard.ended).toBe(130)
  expect(heard.stdout()).toContain('cleaned up')

  const deaf = await begin(
    atelier,
    app,
    'for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(name, () => console.log("no"))',
  )
  deaf.child.kill('SIGINT')
  await expect.poll(deaf.stdout, soon).toContain('no')
  deaf.child.kill('SIGINT')
  expect(await deaf.ended).toBe(130)
  await expect.poll(() => commandsOf(atelier), soon).toEqual([])
})

test('a connection that is cut ends the command, and so does the end of a proxy that runs it', async ({ atelier }) => {
  const app = await deployShop(atelier)
  const cut = await begin(atelier, app, '')
  cut.child.kill('SIGKILL')
  await expect.poll(() => commandsOf(atelier), soon).toEqual([])
  await expect.poll(() => endsOf(atelier, app), soon).toEqual(['stopped'])

  const lost = await begin(atelier, app, '')
  await atelier.kill('proxy')
  expect(await lost.ended).toBe(3)
  expect(lost.stderr()).toContain('the connection to the platform was lost')
  await expect.poll(() => commandsOf(atelier), soon).toEqual([])
  await expect.poll(() => endsOf(atelier, app), soon).toEqual(['lost', 'stopped'])
})

test('time, memory, processes and commands at a time are bounded', async ({ atelier }) => {
  const app = await deployShop(atelier)
  const late = await atelier.cli(['run', '--timeout', '1', '--app', app, '--', 'sleep', '600'])
  expect(late).toMatchObject({ code: 124, stderr: expect.stringContaining('after 1 s') })

  const hungry = 'const all = []; for (;;) all.push(Buffer.alloc(16_777_216, 1))'
  expect(await atelier.cli(['run', '--app', app, '--', 'node', '-e', hungry])).toMatchObject({ code: 137 })

  const bomb =
    'const { spawn } = require("node:child_process"); for (let i = 0; i < 2000; i++) spawn("sleep", ["600"]).on("error", () => {}); setTimeout(() => process.exit(0), 1000)'
  await atelier.cli(['run', '--timeout', '20', '--app', app, '--', 'node', '-e', bomb])
  await expect.poll(() => commandsOf(atelier), soon).toEqual([])
  expect((await atelier.get(app, '/')).body).toBe('hello')

  const five = await Promise.all([1, 2, 3, 4, 5].map(() => begin(atelier, app, '')))
  const sixth = await atelier.cli(['run', '--app', app, '--', 'true'])
  expect(sixth).toMatchObject({ code: 1, stderr: expect.stringContaining('5 commands') })
  for (const { child } of five) child.kill('SIGKILL')
  await expect.poll(async () => (await atelier.cli(['run', '--app', app, '--', 'true'])).code, soon).toBe(0)
})

test('who may deploy may run; who ran what is kept, without secrets, and no output is', async ({ atelier }) => {
  const app = await deployShop(atelier)
  const token = async (scope: string) =>
    (await atelier.cli(['tokens', 'create', `${app}-${scope}`, '--scope', scope, '--app', app])).stdout.trim()
  const [reader, deployer] = [await token('read'), await token('deploy')]
  const env = (secret: string) => ({ ATELIER_URL: `http://localhost:${atelier.port}`, ATELIER_TOKEN: secret })
  const command = ['run', '--app', app, '--', 'echo', 's3cret-value', 'and', 'more']
  expect(await atelier.cli(command, { env: env(reader) })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('its scope is read, not deploy'),
  })
  expect(await atelier.cli(command, { env: env(deployer) })).toMatchObject({
    code: 0,
    stdout: 's3cret-value and more\n',
  })

  const { stdout } = await atelier.cli(['run', '--list', '--json', '--app', app])
  expect(JSON.parse(stdout).runs).toMatchObject([
    { command: 'echo [SECRET] and more', by: `${app}-deploy`, state: 'ended', exit_code: 0, cause: 'exit' },
  ])
  const logs = ['registry', 'proxy']
    .map((role) => readFileSync(join(atelier.home, 'log', `${role}.log`), 'utf8'))
    .join('')
  expect(logs).toContain('command ended')
  expect(logs).not.toContain('s3cret-value')
  const sql = await connectToHome(atelier.home)
  expect(await sql`select command from app_runs where command is not null and state = 'ended'`).toEqual([])
})

test('what cannot be run is refused, and says why', async ({ atelier }) => {
  const site = await atelier.createApp()
  const run = (...args: string[]) => atelier.cli(['run', '--app', site.name, ...args])
  expect(await run('--', 'true')).toMatchObject({ code: 1, stderr: expect.stringContaining('nothing of') })
  await atelier.cli(['deploy', await atelier.directory({ 'index.html': 'hello' }), '--app', site.name])
  expect(await run('--', 'true')).toMatchObject({ code: 1, stderr: expect.stringContaining('static site') })
  expect(await run()).toMatchObject({ code: 2, stderr: expect.stringContaining('atelier run -- node') })
  expect(await run('--timeout', 'soon', '--', 'true')).toMatchObject({ code: 2 })

  const post = (body: unknown) => atelier.api('POST', `apps/${site.name}/runs`, body)
  for (const command of [[], [''], ['a\0b'], 'ls', [1], ['x'.repeat(140_000)], ['\ud800'], null])
    expect(await post({ command })).toMatchObject({ status: 400 })
  expect(await atelier.api('POST', `apps/${site.name}/runs/aaaaaaaaaaaa/input`, { seq: 0, data: '' })).toMatchObject({
    status: 404,
  })
})

type Begun = { child: ChildProcess; ended: Promise<number | null>; stdout: () => string; stderr: () => string }

// A command that goes on until it is ended, and has said that it runs.
async function begin(atelier: Atelier, app: string, script: string): Promise<Begun> {
  const args = [
    'run',
    '--app',
    app,
    '--',
    'node',
    '-e',
    `${script}\nsetInterval(() => {}, 1000); console.log("running")`,
  ]
  const env = { ...process.env, ATELIER_HOME: atelier.home, ATELIER_LAUNCHED: '1' }
  const child = spawn(process.execPath, [join(checkout, 'cli/atelier.mjs'), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.on('data', (text: Buffer) => (said[name] += text.toString()))
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  await expect.poll(() => said.stdout, soon).toContain('running')
  return { child, ended, stdout: () => said.stdout, stderr: () => said.stderr }
}

// Behind the walls: the person's own command has the same words in its command line.
function commandsOf(atelier: Atelier): string[] {
  const all = processesOf(atelier.home).map(({ command }) => command)
  return all.filter((command) => /setInterval|sleep 600/.test(command) && !command.includes('atelier.mjs'))
}

async function endsOf(atelier: Atelier, app: string): Promise<string[]> {
  const { code, stdout } = await atelier.cli(['run', '--list', '--json', '--app', app])
  return code !== 0 ? [] : JSON.parse(stdout).runs.map(({ cause }: { cause: string }) => cause)
}
