import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, describe, expect } from 'vitest'
import { commands } from '../cli/commands.ts'
import { examples } from '../cli/examples.ts'
import type { Atelier } from './support/atelier.ts'
import { test } from './support/atelier.ts'
import type { CommandResult } from './support/command.ts'
import { connectToHome } from './support/platform-database.ts'
import type { Traffic } from './support/traffic.ts'

// Every command, against a platform that runs: its help, a line typed wrongly, a success and a failure. The list is the program's own: a command that has
// no entry here fails this file.

/** What the commands before have made. */
type World = { atelier: Atelier; folder: string; token: string; tokenId: string; notes: Map<string, string> }
type Args = string[] | ((world: World) => string[] | Promise<string[]>)
type Step = {
  of: string
  /** Without `--json`, which is added where the command has it. */
  ok: Args
  /** Default 0. `any`: it depends on the machine. */
  code?: number | 'any'
  /** What is printed, as JSON where it has `--json`: one document, or one a line. */
  shows?: (answer: unknown, world: World) => unknown
  input?: string
  before?: (world: World) => unknown
  after?: (world: World) => unknown
}
/** `args`: default, where there is `--app`: of an app that is not there. */
type Failing = { args?: Args; code?: number; says: RegExp | string; env?: NodeJS.ProcessEnv }

const app = 'shop'
const server = (text: string) => `require('http').createServer((q, r) => r.end('${text}')).listen(process.env.PORT)\n`
const files = (text: string) => ({
  'package.json': '{"name":"shop","scripts":{"start":"node server.js"}}',
  'server.js': server(text),
  'atelier.config.json': JSON.stringify({
    deployments: { canary: { stages: [25, 50, 75, 100], observationWindowSec: 600 } },
  }),
})
const deploy = async ({ atelier }: World, text: string, ...args: string[]) => {
  const { code, stderr } = await atelier.cli(['deploy', await atelier.directory(files(text)), '--app', app, ...args])
  if (code !== 0) throw new Error(stderr)
}
let traffic: Traffic | null = null
afterAll(async () => {
  await traffic?.[Symbol.asyncDispose]()
})

// In an order in which each finds what it needs.
const steps: Step[] = [
  { of: 'version', ok: [], shows: (answer) => expect(answer).toMatchObject({ version: expect.any(String) }) },
  {
    of: 'completion',
    ok: ['bash'],
    shows: (text) => expect(text).toContain('complete -o default -F _atelier atelier'),
  },
  { of: 'doctor', ok: [], code: 'any', shows: (answer) => expect(answer).toBeTypeOf('object') },
  { of: 'login', ok: ({ atelier, token }) => [`http://localhost:${atelier.port}`, '--token', token] },
  {
    of: 'whoami',
    ok: [],
    shows: (answer, { atelier }) =>
      expect(answer).toMatchObject({
        api: `http://api.localhost:${atelier.port}`,
        person: null,
        token: { id: 'admin', expires_at: null },
      }),
  },
  { of: 'apps create', ok: [app], shows: (answer) => expect(answer).toMatchObject({ id: app }) },
  { of: 'apps list', ok: [], shows: (answer) => expect(answer).toMatchObject({ apps: [{ id: app }] }) },
  { of: 'apps', ok: [] },
  { of: 'link', ok: [app], shows: (answer) => expect(answer).toMatchObject({ app }) },
  { of: 'env set', ok: ['GREETING=hello', '--app', app] },
  { of: 'env import', ok: ['-', '--app', app], input: 'MOOD=glad\n' },
  {
    of: 'env list',
    ok: ['--app', app],
    shows: (answer) => expect(answer).toMatchObject({ variables: [{ name: 'GREETING' }, { name: 'MOOD' }] }),
  },
  { of: 'env unset', ok: ['MOOD', '--app', app] },
  { of: 'env', ok: ['--app', app] },
  {
    of: 'deploy',
    ok: async ({ atelier }) => [await atelier.directory(files('one')), '--app', app, '--version', '1.0.0'],
    shows: (answer) => expect(answer).toMatchObject({ app_id: app, version: '1.0.0', state: 'live' }),
    after: (world) => deploy(world, 'two', '--version', '2.0.0', '--skip-canary'),
  },
  {
    of: 'deploys',
    ok: ['--app', app],
    shows: (answer) => expect(answer).toMatchObject({ deployments: [{ version: '2.0.0' }, { version: '1.0.0' }] }),
  },
  { of: 'status', ok: ['--app', app], shows: (answer) => expect(answer).toMatchObject({ apps: [{ app_id: app }] }) },
  {
    of: 'logs',
    ok: ['v1', '--app', app],
    shows: (lines) => expect(lines).toContainEqual(expect.objectContaining({ type: 'log' })),
  },
  { of: 'routes', ok: ['--app', app] },
  { of: 'diff', ok: ['v1', 'v2', '--app', app] },
  {
    of: 'run',
    ok: ['--app', app, '--', 'node', '-p', 'process.env.GREETING'],
    shows: (lines) => expect(lines).toContainEqual(expect.objectContaining({ type: 'end', exit_code: 0 })),
  },
  { of: 'db', ok: ['--app', app] },
  {
    of: 'open',
    ok: ['--app', app],
    shows: (answer) => expect(answer).toMatchObject({ url: expect.stringContaining(app) }),
  },
  { of: 'purge', ok: ['--all', '--app', app] },
  {
    of: 'rollback',
    ok: ['--app', app],
    shows: (answer) => expect(answer).toMatchObject({ live: { version: '1.0.0' } }),
  },
  {
    of: 'lock',
    ok: ['-m', 'migrating', '--app', app],
    shows: (answer) => expect(answer).toMatchObject({ message: 'migrating' }),
  },
  { of: 'unlock', ok: ['--app', app] },
  {
    of: 'redeploy',
    ok: ['--skip-canary', '--app', app],
    shows: (answer) => expect(answer).toMatchObject({ state: 'live', version: '1.0.0' }),
  },
  {
    of: 'pause',
    ok: ['-m', 'noon', '--app', app],
    // A rollout that goes on needs somebody to be rolled out to.
    before: async (world) => {
      traffic = world.atelier.keepRequesting(app, '/')
      const sql = await connectToHome(world.atelier.home)
      const told = async () => {
        const [row] = await sql<
          { count: number }[]
        >`select coalesce(sum(requests), 0)::integer as count from route_bins`
        return row?.count ?? 0
      }
      await expect.poll(told, { timeout: 120_000 }).toBeGreaterThan(300)
      await deploy(world, 'three', '--version', '3.0.0')
    },
  },
  { of: 'resume', ok: ['--app', app] },
  { of: 'promote', ok: ['75', '--app', app] },
  { of: 'abort', ok: ['-m', 'wrong prices', '--app', app] },
  {
    of: 'cancel',
    ok: ['--app', app],
    before: async (world) => {
      const slow = {
        ...files('four'),
        'build.sh': 'sleep 600\n',
        'atelier.config.json': '{"build":{"script":"build.sh","output":"."}}',
      }
      void world.atelier.cli(['deploy', await world.atelier.directory(slow), '--app', app, '--unlock'])
      const isRunning = async () => (await world.atelier.cli(['deploys', '--app', app, '--limit', '1'])).stdout
      await expect.poll(isRunning, { timeout: 60_000 }).toContain('building')
    },
    shows: (answer) => expect(answer).toMatchObject({ state: 'cancelled' }),
  },
  {
    of: 'tokens create',
    ok: ['smoke', '--scope', 'read'],
    shows: (answer, world) => {
      expect(answer).toMatchObject({ id: expect.any(String) })
      world.tokenId = String(Reflect.get(Object(answer), 'id'))
    },
  },
  { of: 'tokens list', ok: [] },
  { of: 'tokens', ok: [] },
  { of: 'tokens rm', ok: ({ tokenId }) => [tokenId] },
  {
    of: 'webhooks create',
    ok: ['https://example.com/hook', '--app', app],
    shows: (answer, { notes }) => notes.set('webhook', String(Reflect.get(Object(answer), 'id'))),
  },
  { of: 'webhooks list', ok: ['--app', app] },
  { of: 'webhooks', ok: ['--app', app] },
  { of: 'webhooks log', ok: ({ notes }) => [notes.get('webhook') ?? '', '--app', app] },
  { of: 'webhooks rotate', ok: ({ notes }) => [notes.get('webhook') ?? '', '--app', app] },
  { of: 'webhooks enable', ok: ({ notes }) => [notes.get('webhook') ?? '', '--app', app] },
  { of: 'webhooks rm', ok: ({ notes }) => [notes.get('webhook') ?? '', '--app', app] },
  { of: 'domains add', ok: ['www.example.com', '--app', app] },
  {
    of: 'domains list',
    ok: ['--app', app],
    shows: (answer) => expect(answer).toMatchObject({ domains: [{ host: 'www.example.com' }] }),
  },
  { of: 'domains', ok: ['--app', app] },
  { of: 'domains rm', ok: ['www.example.com', '--app', app] },
  { of: 'people invite', ok: ['ada', '--platform-role', 'guest'] },
  { of: 'people link', ok: ['ada'] },
  { of: 'people role', ok: ['ada', 'guest'] },
  { of: 'people sign-out', ok: ['ada'] },
  { of: 'people list', ok: [], shows: (answer) => expect(answer).toMatchObject({ people: [{ name: 'ada' }] }) },
  { of: 'people', ok: [] },
  { of: 'members add', ok: ['ada', '--role', 'viewer', '--app', app] },
  { of: 'members set', ok: ['ada', '--role', 'deployer', '--app', app] },
  {
    of: 'members list',
    ok: ['--app', app],
    shows: (answer) => expect(answer).toMatchObject({ members: [{ person: 'ada' }] }),
  },
  { of: 'members', ok: ['--app', app] },
  { of: 'members rm', ok: ['ada', '--app', app] },
  { of: 'people rm', ok: ['ada', '--ownerless'] },
  { of: 'audit', ok: ['--app', app], shows: (answer) => expect(answer).toMatchObject({ entries: expect.any(Array) }) },
  { of: 'repo link', ok: ['https://github.com/octo/hello', '--app', app] },
  { of: 'repo show', ok: ['--app', app] },
  { of: 'repo', ok: ['--app', app] },
  { of: 'repo unlink', ok: ['--app', app] },
  { of: 'previews set', ok: ['--ttl', '36h', '--app', app] },
  {
    of: 'previews list',
    ok: ['--app', app],
    before: (world) => deploy(world, 'five', '--branch', 'pr/42'),
    shows: (answer) => expect(answer).toMatchObject({ previews: [{ branch: 'pr/42' }] }),
  },
  { of: 'previews', ok: ['--app', app] },
  { of: 'previews rm', ok: ['42', '--app', app] },
  { of: 'apps rm', ok: [app, '--yes'] },
  { of: 'logout', ok: [], shows: (answer) => expect(answer).toMatchObject({ revoked: false }) },
]

/** Of these a success takes more than a line, or ends the platform: where it is proved. */
const provedElsewhere: Record<string, string> = {
  up: 'test/up.test.ts',
  serve: 'test/apart-setup.test.ts',
  dev: 'test/dev.test.ts',
  'tokens renew-admin': 'test/apart-setup.test.ts',
  keys: 'test/keys.test.ts',
  'keys list': 'test/keys.test.ts',
  'keys rotate': 'test/keys.test.ts',
  'keys forget': 'test/keys.test.ts',
  'previews approve': 'test/pull-requests.test.ts',
  'webhooks test': 'test/webhooks.test.ts',
  'webhooks redeliver': 'test/webhooks.test.ts',
}

const nobody = { env: { ATELIER_TOKEN: 'atl_nobody' }, says: /does not accept this token/ }
const failures: Record<string, Failing> = {
  version: { args: ['more', 'than', 'that'], code: 2, says: 'usage' },
  completion: { args: ['--nonsense'], code: 2, says: 'usage' },
  doctor: { args: ['--nonsense'], code: 2, says: 'usage' },
  up: { args: [], says: /already|another|in use|taken/i },
  serve: { args: ['everything'], code: 2, says: /choices|Allowed/i },
  dev: { args: ['/nowhere'], code: 2, says: 'is not a folder' },
  login: {
    args: ({ atelier }) => [`http://localhost:${atelier.port}`, '--token', 'atl_nobody'],
    says: /does not accept/,
  },
  logout: { args: ['http://localhost:1'], says: /not signed in to http:\/\/api\.localhost:1/ },
  whoami: nobody,
  link: { args: ['Not A Name'], says: /cannot be an app name/ },
  apps: nobody,
  'apps list': nobody,
  'apps create': { args: ['Not A Name'], says: /cannot be an app name/ },
  'apps rm': { args: ['nosuchapp', '--yes'], says: /no app nosuchapp/ },
  tokens: nobody,
  'tokens list': nobody,
  'tokens create': { args: ['ci', '--scope', 'everything'], code: 2, says: /Allowed choices/ },
  'tokens rm': { args: ['nosuchtoken'], says: /no token/ },
  'tokens renew-admin': { args: ['--nonsense'], code: 2, says: 'usage' },
  deploy: { args: ['/nowhere', '--app', app], code: 2, says: 'is not a folder' },
  open: { args: ['--app', 'nosuchapp'], says: /no app nosuchapp/ },
  promote: { args: ['25', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  diff: { args: ['v1', 'v2', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  lock: { args: ['-m', 'why', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  purge: { args: ['--all', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  run: { args: ['--app', 'nosuchapp', '--', 'true'], says: /no app nosuchapp/ },
  'env set': { args: ['A=1', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'env import': { args: ['nosuchfile', '--app', app], says: /nosuchfile/ },
  'env unset': { args: ['A', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'webhooks create': { args: ['https://example.com', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  ...Object.fromEntries(
    ['test', 'rm', 'rotate', 'enable', 'log'].map((name) => [
      `webhooks ${name}`,
      { args: ['nosuchhook', '--app', 'nosuchapp'], says: /no (app|webhook)/ },
    ]),
  ),
  ...Object.fromEntries(
    ['keys', 'keys list', 'keys rotate', 'keys forget'].map((name) => [
      name,
      { args: ['--nonsense'], code: 2, says: 'usage' },
    ]),
  ),
  audit: { args: ['--limit', 'all'], code: 2, says: /limit/ },
  'domains add': { args: ['no host', '--app', app], says: /./ },
  'domains rm': { args: ['www.example.com', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'members add': { args: ['ada', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'members set': { args: ['ada', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'members rm': { args: ['ada', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  people: nobody,
  'people list': nobody,
  'people invite': { args: ['Not A Name'], says: /./ },
  'people link': { args: ['nobody'], says: /nobody/ },
  'people role': { args: ['nobody', 'guest'], says: /nobody/ },
  'people sign-out': { args: ['nobody'], says: /nobody/ },
  'people rm': { args: ['nobody'], says: /nobody/ },
  'previews rm': { args: ['42', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'previews set': { args: ['--ttl', '36h', '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'previews approve': { args: ['42', 'a'.repeat(40), '--app', 'nosuchapp'], says: /no app nosuchapp/ },
  'repo link': { args: ['ssh://github.com/octo/hello', '--app', app], says: /must begin with https/ },
  'webhooks redeliver': { args: ['nosuchhook', '1', '--app', 'nosuchapp'], says: /no (app|webhook)/ },
}
const ofNoApp: Failing = { args: ['--app', 'nosuchapp'], says: /no app nosuchapp/ }

const program = new Command('atelier').enablePositionalOptions()
for (const { load } of Object.values(commands)) (await load()).register(program)
const all = program.commands.flatMap((command) => withBelow(command, ''))
const worlds = new WeakMap<Atelier, Promise<World>>()

test('every command has an entry here, and examples in its help', () => {
  const paths = all.map(({ path }) => path)
  expect(program.commands.map((command) => command.name())).toEqual(Object.keys(commands))
  expect(Object.keys(examples).sort()).toEqual(Object.keys(commands).sort())
  expect([...steps.map(({ of }) => of), ...Object.keys(provedElsewhere)].sort()).toEqual(paths.sort())
  const failing = (path: string) => failures[path] ?? (hasApp(path) ? ofNoApp : null)
  expect(paths.filter((path) => failing(path) === null)).toEqual([])
})

describe.concurrent('help, and a line typed wrongly', () => {
  test.for(all)('$path', async ({ path }, { atelier, expect }) => {
    const words = path.split(' ')
    const [shown, wrong] = await Promise.all([
      atelier.cli([...words, '--help']),
      atelier.cli([...words, '--no-such-option']),
    ])
    expect(shown).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining(`Usage: atelier ${path}`) })
    if (words.length === 1) expect(shown.stdout).toContain('\nExamples:\n  ')
    expect(wrong).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('usage: atelier') })
  })
})

describe('a success', () => {
  test.for(steps)('$of', async ({ of, ok, code = 0, shows, input, before, after }, { atelier }) => {
    const world = await worldOf(atelier)
    await before?.(world)
    const [args, hasJson] = [typeof ok === 'function' ? await ok(world) : ok, hasOption(of, '--json')]
    const words = [...of.split(' '), ...(hasJson ? ['--json'] : []), ...args]
    const result = await atelier.cli(words, { cwd: world.folder, ...(input !== undefined && { input }) })
    if (code !== 'any') expect(result, result.stderr).toMatchObject({ code })
    const answer = hasJson ? read(result) : result.stdout
    expect(result.stdout).not.toContain('\u001b')
    await shows?.(answer, world)
    await after?.(world)
  })
})

describe.concurrent('a failure', () => {
  test.for(all)('$path', async ({ path }, { atelier, expect }) => {
    const world = await worldOf(atelier)
    const { args, code = 1, says, env = {} } = failures[path] ?? ofNoApp
    const given = typeof args === 'function' ? await args(world) : (args ?? [])
    const hasJson = hasOption(path, '--json') && code !== 2
    const result = await atelier.cli([...path.split(' '), ...(hasJson ? ['--json'] : []), ...given], {
      cwd: world.folder,
      env,
    })
    expect(result).toMatchObject({ code, stderr: expect.stringMatching(says) })
    if (hasJson)
      expect(JSON.parse(result.stdout)).toMatchObject({
        error: { code: expect.stringMatching(/^[A-Z_]+$/), message: expect.any(String) },
      })
    else expect(result.stdout).toBe('')
  })
})

test('a platform that is away, an address that is none, and one of another kind are told apart', async ({
  atelier,
}) => {
  const token = { ATELIER_TOKEN: 'atl_any' }
  const ask = (url: string) => atelier.cli(['apps', '--json'], { env: { ...token, ATELIER_URL: url } })
  const gone = await ask('http://localhost:1')
  expect(gone).toMatchObject({ code: 3, stderr: expect.stringContaining('start it with: atelier up') })
  expect(JSON.parse(gone.stdout).error.code).toBe('UNREACHABLE')
  expect(await ask(`https://localhost:${atelier.port}`)).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('does not speak https'),
  })
  expect(await ask('http://no such place')).toMatchObject({ code: 2 })
})

test('no command shows what the system says of a platform that was stopped: each has a sentence, and what to do next', async ({
  atelier,
}) => {
  const home = await atelier.directory({
    'atelier.json': '{"api":"http://api.localhost:1"}',
    'admin-token': 'atl_any\n',
    'secrets/key': `${randomBytes(32).toString('base64')}\n`,
  })
  const cwd = await atelier.directory({ 'index.html': 'hello' })
  await atelier.run('git', ['init', '--quiet'], { cwd })
  const env = { ATELIER_HOME: home, XDG_CONFIG_HOME: join(home, 'config') }
  const withoutPlatform = ['version', 'completion', 'doctor', 'logout']
  const asked = steps.flatMap(({ of, ok, input }) =>
    Array.isArray(ok) && !withoutPlatform.includes(of) ? [{ words: [...of.split(' '), ...ok], input }] : [],
  )
  const keys = ['list', 'rotate', 'forget'].map((name) => ({ words: ['keys', name], input: undefined }))
  expect(asked.length).toBeGreaterThan(50)
  for (const { words, input } of [...asked, ...keys]) {
    const { code, stderr, stdout } = await atelier.cli(words, { cwd, env, ...(input !== undefined && { input }) })
    expect([words, code, stdout]).toEqual([words, 3, ''])
    expect([words, stderr]).toEqual([
      words,
      expect.stringMatching(/^atelier: the platform .*; start it with: atelier up\n$/),
    ])
  }
})

function worldOf(atelier: Atelier): Promise<World> {
  const known = worlds.get(atelier) ?? makeWorld(atelier)
  worlds.set(atelier, known)
  return known
}

async function makeWorld(atelier: Atelier): Promise<World> {
  const folder = await atelier.directory({ 'index.html': 'hello' })
  await atelier.run('git', ['init', '--quiet'], { cwd: folder })
  return { atelier, folder, token: await atelier.platform.adminToken(), tokenId: '', notes: new Map() }
}

function withBelow(command: Command, above: string): { path: string; command: Command }[] {
  const path = `${above} ${command.name()}`.trim()
  return [{ path, command }, ...command.commands.flatMap((one) => withBelow(one, path))]
}

function hasOption(path: string, long: string): boolean {
  const found = all.find((one) => one.path === path)?.command
  return [found, found?.parent].some((command) => command?.options.some((option) => option.long === long))
}

function hasApp(path: string): boolean {
  return hasOption(path, '--app')
}

// One document, or one a line.
function read({ stdout }: CommandResult): unknown {
  try {
    return JSON.parse(stdout)
  } catch {
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  }
}
