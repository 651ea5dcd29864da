import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { zstdDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { appendAppLog } from '../registry/app-logs.ts'
import { appendBuildLog } from '../registry/build-logs.ts'
import { claimBuild } from '../registry/claims.ts'
import { recordMigrations } from '../registry/deploy-commands.ts'
import { findDeployment, moveDeployment } from '../registry/deployments.ts'
import { type HostReport, reportHosts } from '../registry/edge-hosts.ts'
import { endLease, renewLease } from '../registry/edges.ts'
import { readHostProxy } from '../registry/egress/host-proxy.ts'
import { OutboundHttp } from '../registry/egress/outbound-http.ts'
import { WebhookDeliverer } from '../registry/webhooks/deliverer.ts'
import { type CommandResult, run } from './support/command.ts'
import { finishDeployment, startControlPlane } from './support/control-plane.ts'
import { checkout, plainEnv } from './support/platform.ts'

// The command as a process, against the API on a port, as on a machine with a platform running. The tests play the build worker.
const plane = await startControlPlane({ relay: true, env: { ATELIER_OUTBOUND_ALLOW: '127.0.0.1/32' } })
afterAll(() => plane.close())

const port = plane.config.httpPort
const program = join(checkout, 'cli/atelier.mjs')

let app: string
let desk: string
let env: NodeJS.ProcessEnv
let platformHome: string
beforeAll(async () => {
  platformHome = await mkdtemp(join(plane.home, 'platform-'))
  await writeFile(join(platformHome, 'atelier.json'), JSON.stringify({ api: `http://api.localhost:${port}` }))
  await writeFile(join(platformHome, 'admin-token'), `${await plane.token('admin')}\n`)
})
beforeEach(async () => {
  app = await plane.app()
  desk = await mkdtemp(join(plane.home, 'a desk with spaces-'))
  plane.worker.onWake = () => undefined
  env = { ...plainEnv(), HOME: desk, XDG_CONFIG_HOME: undefined, ATELIER_HOME: platformHome, GIT_CONFIG_NOSYSTEM: '1' }
})

const atelier = (
  args: string[],
  { cwd = desk, input = '', more = {} }: { cwd?: string; input?: string; more?: NodeJS.ProcessEnv } = {},
) => run(process.execPath, [program, ...args], { cwd, input, env: { ...env, ...more } })

/** Expects exit code 0 and silence on stderr; returns what was said. */
async function said(args: string[], how: Parameters<typeof atelier>[1] = {}): Promise<string> {
  const result = await atelier(args, how)
  expect(result).toMatchObject({ code: 0, stderr: '' })
  return result.stdout
}

async function saidJson(args: string[], how: Parameters<typeof atelier>[1] = {}): Promise<unknown> {
  return JSON.parse((await atelier([...args, '--json'], how)).stdout)
}

/** One line on stderr that begins with the command's name; nothing on stdout. */
function failed(result: CommandResult, code: number, words: string): void {
  expect(result).toMatchObject({ code, stdout: '' })
  expect(result.stderr).toMatch(/^atelier: .+\n$/)
  expect(result.stderr).toContain(words)
}

async function newRepo(): Promise<string> {
  const folder = join(desk, 'my repo')
  await mkdir(folder)
  await git(['init', '--quiet', '--initial-branch', 'main'], folder)
  return folder
}

async function git(args: string[], cwd: string, input = ''): Promise<string> {
  const { code, stdout, stderr } = await run('git', args, { cwd, env, input })
  if (code !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
  return stdout.trim()
}

const finish = async (id: string) => {
  await appendBuildLog(plane.sql, id, ['-----> Building'])
  await finishDeployment(plane.sql, plane.config, id)
}

describe('where the platform is', () => {
  test('it is found on this machine without any login', async () => {
    expect(await said(['status'])).toContain(`http://api.localhost:${port}`)
  })

  test('a login is checked, kept for its owner only, and used from then on', async () => {
    const token = await plane.token('deploy')
    expect(await said(['login', `localhost:${port}`, '--token', '-'], { input: `${token}\n` })).toContain(
      'deploy-all (deploy)',
    )
    const file = join(desk, '.config/atelier/config.json')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(await saidJson(['apps', 'list'], { more: { ATELIER_HOME: '/nowhere' } })).toMatchObject({
      apps: expect.any(Array),
    })
  })

  test('a token nobody knows is not kept', async () => {
    const result = await atelier(['login', `localhost:${port}`, '--token', `atl_${'A'.repeat(43)}`])
    failed(result, 1, 'does not accept this token')
    await expect(stat(join(desk, '.config/atelier/config.json'))).rejects.toThrow()
  })

  test('ATELIER_URL and ATELIER_TOKEN come before everything', async () => {
    const more = {
      ATELIER_URL: `http://console.localhost:${port}`,
      ATELIER_TOKEN: await plane.token('read', app),
      ATELIER_HOME: '/nowhere',
    }
    expect(await saidJson(['apps'], { more })).toMatchObject({ apps: [{ id: app }] })
  })

  test('one that is not there is named, with exit code 3', async () => {
    const result = await atelier(['status'], { more: { ATELIER_URL: 'http://localhost:1', ATELIER_TOKEN: 'atl_x' } })
    failed(result, 3, 'http://api.localhost:1 cannot be reached (ECONNREFUSED)')
    failed(await atelier(['status'], { more: { ATELIER_HOME: '/nowhere' } }), 1, 'atelier up')
  })

  test('something else that answers there is told from a platform', async () => {
    const other = createServer((_, response) => response.writeHead(502).end('<html>Bad gateway</html>'))
    other.listen(0, '127.0.0.1')
    await once(other, 'listening')
    const more = { ATELIER_URL: `http://localhost:${(other.address() as AddressInfo).port}`, ATELIER_TOKEN: 'atl_x' }
    failed(await atelier(['status'], { more }), 3, 'answered 502')
    other.close()
  })
})

describe('linking a repository', () => {
  test('makes the app and the remote, and git finds the token without asking', async () => {
    const repo = await newRepo()
    const name = `linked-${app}`
    expect(await said(['link', name], { cwd: repo })).toBe(
      `Created ${name}: http://${name}.apps.localhost:${port}\ndeploy it with: git push atelier main\n`,
    )
    expect(await git(['remote', 'get-url', 'atelier'], repo)).toBe(`http://git.localhost:${port}/${name}.git`)
    const filled = await git(['credential', 'fill'], repo, `protocol=http\nhost=git.localhost:${port}\n\n`)
    const token = (await readFile(join(platformHome, 'admin-token'), 'utf8')).trim()
    expect(filled).toContain(`password=${token}`)
    const file = join(desk, `.config/atelier/git/git.localhost_${port}/${name}`)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(await readFile(join(repo, '.git/config'), 'utf8')).not.toContain(token)
  })

  test('again, to another app, it follows; commands then find the app by themselves', async () => {
    const repo = await newRepo()
    await said(['link', `one-${app}`], { cwd: repo })
    await said(['link', app], { cwd: repo })
    expect(await git(['remote', 'get-url', 'atelier'], repo)).toContain(`/${app}.git`)
    expect(await git(['config', '--get-all', `credential.http://git.localhost:${port}.helper`], repo)).toMatch(
      new RegExp(`^\\n?store --file '.*/${app}'$`),
    )
    expect(await said(['link'], { cwd: repo })).toContain(`Linked to ${app}`)
    expect(await said(['deploys'], { cwd: join(repo, '.') })).toContain(`${app} has no deployments yet`)
  })

  test('a helper of the machine is not asked', async () => {
    const repo = await newRepo()
    await git(['config', '--global', 'credential.helper', '!touch keychain-was-asked; false'], repo)
    await said(['link', app], { cwd: repo })
    await git(['credential', 'fill'], repo, `protocol=http\nhost=git.localhost:${port}\n\n`)
    await expect(stat(join(repo, 'keychain-was-asked'))).rejects.toThrow()
  })

  test('takes its name from the folder, and refuses what cannot be one', async () => {
    const repo = await newRepo()
    expect(await said(['link'], { cwd: repo })).toContain('my-repo')
    failed(await atelier(['link', 'x-pr-1'], { cwd: repo }), 1, 'belong to previews')
  })

  test('needs a repository', async () => {
    failed(await atelier(['link', app]), 1, 'git init')
  })
})

describe('deploying a folder', () => {
  const deploy = (args: string[] = [], how: Parameters<typeof atelier>[1] = {}) =>
    atelier(['deploy', 'site', '--app', app, ...args], how)
  beforeEach(async () => {
    await mkdir(join(desk, 'site/assets'), { recursive: true })
    await mkdir(join(desk, 'site/node_modules/left-pad'), { recursive: true })
    await writeFile(join(desk, 'site/index.html'), 'hello-from-the-folder')
    await writeFile(join(desk, 'site/node_modules/left-pad/index.js'), 'never-sent')
    await writeFile(join(desk, 'site/.env.local'), 'SECRET=never-sent')
  })
  const sourceOf = async (version: string) =>
    zstdDecompressSync(await buffer(await plane.store.get(`sources/${app}/${version}.tar.zst`))).toString()

  test('prints the log as a push does, and sends what belongs to the app', async () => {
    plane.worker.onWake = finish
    const result = await deploy(['--version', '1.0.0'])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.stdout).toMatch(
      new RegExp(`^-----> Building\n-----> Live +http://${app}.apps.localhost:${port} .* in all\n$`),
    )
    expect(await sourceOf('1.0.0')).toContain('hello-from-the-folder')
    expect(await sourceOf('1.0.0')).not.toContain('never-sent')
  })

  test('in a repository it leaves out what git ignores, but not when that is what is deployed', async () => {
    plane.worker.onWake = finish
    await git(['init', '--quiet'], desk)
    await writeFile(join(desk, '.gitignore'), 'private.txt\n/dist\n')
    await writeFile(join(desk, 'site/private.txt'), 'private-text')
    await mkdir(join(desk, 'dist'))
    await writeFile(join(desk, 'dist/index.html'), 'built-text')
    expect((await deploy(['--version', '1.0.0'])).code).toBe(0)
    expect(await sourceOf('1.0.0')).not.toContain('private-text')
    expect((await atelier(['deploy', 'dist', '--app', app, '--version', '1.0.1'])).code).toBe(0)
    expect(await sourceOf('1.0.1')).toContain('built-text')
  })

  test('with --json the answer is the deployment alone', async () => {
    plane.worker.onWake = finish
    const result = await deploy(['--json'])
    expect(JSON.parse(result.stdout)).toMatchObject({
      app_id: app,
      state: 'live',
      version: expect.stringMatching(/^\d{8}-\d{6}$/),
    })
    expect(result.stderr).toContain('-----> Building')
  })

  test('a failed build says why and ends with 1', async () => {
    plane.worker.onWake = async (id) => {
      await claimBuild(plane.sql, id, 'w')
      const by = { by: 'w', reason: 'vite exited 1', errorCode: 'BUILD_FAILED' } as const
      await moveDeployment(plane.sql, id, { from: 'building', to: 'failed', ...by })
    }
    failed(await deploy(['--version', '1.0.0']), 1, `${app} 1.0.0 (v1) did not go live: vite exited 1`)
    const { stdout } = await deploy(['--version', '1.0.1', '--json'])
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'BUILD_FAILED', message: expect.stringContaining('vite exited 1') },
    })
  })

  test('Ctrl-C leaves the deployment to go on, and says how to follow it', async () => {
    const child = spawn(process.execPath, [program, 'deploy', 'site', '--app', app], { cwd: desk, env })
    const told = buffer(child.stderr)
    const woken = plane.woken.length
    await expect.poll(() => plane.woken.length).toBe(woken + 1)
    const id = plane.woken[woken] ?? ''
    await appendBuildLog(plane.sql, id, ['building'])
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    expect((await once(child, 'close'))[0]).toBe(1)
    expect(String(await told)).toMatch(new RegExp(`goes on .*atelier logs ${id} -f.*atelier cancel ${id}`))
    await finish(id)
    expect(await findDeployment(plane.sql, id)).toMatchObject({ state: 'live' })
  })

  test('a connection that breaks is made again, and no line is lost or doubled', async () => {
    const child = spawn(process.execPath, [program, 'deploy', 'site', '--app', app], { cwd: desk, env })
    const [stdout, stderr] = [buffer(child.stdout), buffer(child.stderr)]
    const woken = plane.woken.length
    await expect.poll(() => plane.woken.length).toBe(woken + 1)
    const id = plane.woken[woken] ?? ''
    await appendBuildLog(plane.sql, id, ['line 1', 'line 2'])
    await once(child.stdout, 'data')
    plane.relay?.cut()
    await appendBuildLog(plane.sql, id, ['line 3'])
    await finishDeployment(plane.sql, plane.config, id)
    expect((await once(child, 'close'))[0]).toBe(0)
    expect(String(await stdout)).toMatch(/^line 1\nline 2\nline 3\n-----> Live/)
    expect(String(await stderr)).toContain('connection to the platform was lost')
  })

  test.each([
    ['no such folder', ['deploy', 'nowhere'], 2, 'is not a folder'],
    ['an empty folder', ['deploy', 'site/assets'], 1, 'nothing to deploy'],
    ['a version that is none', ['deploy', 'site', '--version', 'latest'], 1, 'is no version'],
    ['an app name that is none', ['deploy', 'site', '--app', 'x-pr-1'], 1, 'belong to previews'],
  ])('%s', async (_, args, code, words) => {
    const about = args.includes('--app') ? args : [...args, '--app', app]
    failed(await atelier(about), code, words)
  })

  test('a refusal of a large folder arrives, though most of it was never read', async () => {
    await writeFile(join(desk, 'site/large.bin'), randomBytes(20_000_000))
    const more = { ATELIER_TOKEN: `atl_${'A'.repeat(43)}` }
    failed(await deploy([], { more }), 1, 'does not accept this token')
  })

  test('no app', async () => {
    failed(await atelier(['deploy', 'site']), 2, '--app <app>')
  })
})

describe('going back', () => {
  test('says what is live now and how to return', async () => {
    await plane.deployed(app, 'a'.repeat(40))
    await plane.deployed(app, 'b'.repeat(40))
    expect(await said(['rollback', '--app', app])).toBe(
      `${app} aaaaaaa (v1) is live again at http://${app}.apps.localhost:${port}\nto return to bbbbbbb (v2): atelier rollback bbbbbbb\n`,
    )
    expect(await saidJson(['rollback', 'bbbbbbb', '--app', app])).toMatchObject({
      live: { number: 2 },
      previous: { number: 1 },
    })
    expect(await said(['rollback', 'v2', '--app', app])).toContain('is live already')
  })

  test('says which variables and migrations have moved since the version was made', async () => {
    await said(['env', 'set', 'KEPT=1', 'CHANGED=1', 'REMOVED=1', '--app', app])
    await plane.deployed(app, 'a'.repeat(40))
    await said(['env', 'set', 'CHANGED=2', 'ADDED=1', '--app', app])
    await said(['env', 'unset', 'REMOVED', '--app', app])
    const second = await plane.deployed(app, 'b'.repeat(40))
    await recordMigrations(plane.sql, second.id, ['002_orders.sql', '003_items.sql'])
    const text = await said(['rollback', '--app', app])
    expect(text).toContain(
      'changed since it was made: ADDED, CHANGED, REMOVED; it runs with its own; with today’s: atelier redeploy\n',
    )
    expect(text).toContain('migrated since it was made: 002_orders.sql, 003_items.sql; the database stays as it is\n')
    expect(await saidJson(['rollback', 'v2', '--app', app])).toMatchObject({ moved_since: { env: [], migrations: [] } })
    expect(await said(['promote', 'v1', '--app', app])).toContain(
      'migrated since it was made: 002_orders.sql, 003_items.sql; the database stays as it is\n',
    )
    expect(await saidJson(['promote', 'v2', '--app', app])).toMatchObject({ moved_since: { env: [], migrations: [] } })
  })

  test.each([
    ['an unknown commit', 'ffffff0', 1, 'atelier deploys'],
    ['what is no version', 'latest', 1, 'is no version'],
  ])('%s', async (_, version, code, words) => {
    await plane.deployed(app, '1.0.0')
    failed(await atelier(['rollback', version, '--app', app]), code, words)
  })

  test("another token's app is not there", async () => {
    const other = await plane.app()
    const more = { ATELIER_TOKEN: await plane.token('deploy', other) }
    failed(await atelier(['rollback', '--app', app], { more }), 1, `there is no app ${app}`)
  })
})

describe('variables', () => {
  test('are set from the line, from standard input and from a file, and never shown', async () => {
    await writeFile(join(desk, 'vars.env'), 'FROM_FILE="canary-file"\n# a comment\nOTHER=2\n')
    const shown = [
      await said(['env', 'set', 'A=canary-line', '--app', app]),
      await said(['env', 'set', 'B=-', '--app', app, '--runtime-only'], { input: 'canary-stdin\n' }),
      await said(['env', 'set', '--file', 'vars.env', '--app', app]),
      await said(['env', '--app', app]),
      await said(['env', 'list', '--app', app, '--json']),
    ].join('')
    expect(shown).not.toContain('canary')
    expect(await saidJson(['env', 'list', '--app', app])).toMatchObject({
      variables: [
        { name: 'A', runtime_only: false },
        { name: 'B', runtime_only: true },
        { name: 'FROM_FILE' },
        { name: 'OTHER' },
      ],
    })
    expect(await atelier(['env', '--app', app, 'unset', 'A', 'NEVER'])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('Removed A for production'),
      stderr: expect.stringContaining('no variable NEVER for production'),
    })
    expect(await said(['env', '--app', app, 'unset', 'OTHER'])).toContain('Removed OTHER')
    expect(await said(['env', 'list', '--app', app, '--preview'])).toContain('no variables for previews')
  })

  test('of a .env file are imported, but for those the platform sets, and what was so before is no change', async () => {
    await writeFile(join(desk, '.env'), '\uFEFFexport A="1\r\n2"\r\nPORT=3000\r\nB=two # second\r\n')
    const first = await atelier(['env', 'import', '--app', app])
    expect(first).toMatchObject({ code: 0, stdout: `Set A, B for production of ${app}\n` })
    expect(first.stderr).toContain('PORT: left out, the platform sets it itself')
    await writeFile(join(desk, 'other.env'), "B=two\nC='3'\n")
    expect(await said(['env', 'import', 'other.env', '--app', app])).toBe(
      `Set C for production of ${app}; one was so already\n`,
    )
    expect(await said(['env', 'import', '-', '--app', app], { input: 'C=3\n' })).toContain('Nothing to change')
    await writeFile(join(desk, '.env'), 'D=1\nhunter2 canary\n')
    const refused = await atelier(['env', 'import', '--app', app])
    failed(refused, 1, '.env: line 2 is not NAME=value')
    expect(refused.stderr).not.toContain('canary')
    expect(await said(['env', 'list', '--app', app])).not.toContain('D ')
    failed(await atelier(['env', 'import', 'nowhere', '--app', app]), 1, 'nowhere cannot be read')
  })

  test('that are readable are shown, and say when what is live needs a redeploy', async () => {
    await said(['env', 'set', 'LEVEL=info', '--readable', '--app', app])
    await said(['env', 'set', 'SECRET=canary', '--app', app])
    const { version } = await plane.deployed(app, 'c'.repeat(40))
    const listed = await said(['env', '--app', app])
    expect(listed).toMatch(/LEVEL +info /)
    expect(listed).toMatch(/SECRET +hidden /)
    expect(listed).not.toContain('needs a redeploy')
    expect(await said(['env', 'set', 'LEVEL=info', 'SECRET=canary', '--app', app])).toBe(
      `Nothing to change for production of ${app}; 2 were so already\n`,
    )
    const needs = `main (${version.slice(0, 7)}) runs with LEVEL as before and needs a redeploy: atelier redeploy\n`
    expect(await said(['env', 'set', 'LEVEL=debug', '--app', app])).toBe(`Set LEVEL for production of ${app}\n${needs}`)
    expect(await said(['env', '--app', app])).toContain(needs)
    expect(await said(['env', 'set', 'LEVEL=info', '--app', app])).not.toContain('needs a redeploy')
    expect(await said(['env', 'set', 'VITE_X=1', '--app', app])).toContain('atelier redeploy --build\n')
  })

  test('of one branch go before those of all previews', async () => {
    await said(['env', 'set', 'A=all', 'B=all', '--preview', '--readable', '--app', app])
    expect(await said(['env', 'set', 'B=own', '--branch', 'feature-x', '--readable', '--app', app])).toBe(
      `Set B for the preview of feature-x of ${app}\n`,
    )
    const listed = await said(['env', '--branch', 'feature-x', '--app', app])
    expect(listed).toMatch(/A +all +build and run +all previews /)
    expect(listed).toMatch(/B +own +build and run +feature-x /)
    expect(await said(['env', '--preview', '--app', app])).toMatch(
      /B +all [\s\S]*Branches with variables of their own: feature-x\n/,
    )
    expect(await said(['env', 'unset', 'B', '--branch', 'feature-x', '--app', app])).toContain('Removed B')
    expect(await said(['env', '--branch', 'feature-x', '--app', app])).toMatch(/B +all /)
  })

  test('with --redeploy they are live at once, without a build', async () => {
    const first = await plane.deployed(app, '1.0.0')
    plane.worker.onWake = finish
    expect(await said(['env', 'set', 'A=1', '--redeploy', '--app', app])).toMatch(
      /^Set A for production of .*\n-----> Building\n-----> Live/,
    )
    const { deployments } = (await saidJson(['deploys', '--app', app])) as {
      deployments: { id: string; source: string }[]
    }
    expect(deployments[0]).toMatchObject({ source: 'redeploy', state: 'live', version: '1.0.0' })
    expect((await findDeployment(plane.sql, deployments[0]?.id ?? ''))?.buildId).toBe(
      (await findDeployment(plane.sql, first.id))?.buildId,
    )
  })

  test.each([
    ['nothing', ['env', 'set'], 2, 'nothing to set'],
    ['a name alone', ['env', 'set', 'A'], 2, 'A has no value'],
    ["a name of the platform's own", ['env', 'set', 'PORT=1'], 1, 'set by the platform'],
    ['what was never set', ['env', 'unset', 'NEVER'], 1, 'no variable NEVER for production'],
    [
      'a file that is not there',
      ['env', 'set', '--file', 'nowhere'],
      1,
      'nowhere cannot be read: there is no such file',
    ],
  ])('%s', async (_, args, code, words) => {
    failed(await atelier([...args, '--app', app]), code, words)
  })
})

describe('webhooks', () => {
  test('are made with a secret that is printed once, tried, listed, renewed and removed', async () => {
    const received: string[] = []
    const receiver = createServer((request, response) => {
      received.push(String(request.headers['webhook-id']))
      response.writeHead(received.length > 1 ? 500 : 204).end('canary')
    }).listen(0, '127.0.0.1')
    await once(receiver, 'listening')
    const { port } = receiver.address() as AddressInfo
    const rule = { kind: 'network', address: '127.0.0.1', prefix: 32, family: 'ipv4', port } as const
    const http = new OutboundHttp({ settings: () => ({ rules: [rule], hostProxy: readHostProxy({}) }) })
    const { sql, key, config, log } = plane
    const deliverer = new WebhookDeliverer({ sql, http, key, config, log })
    try {
      const of = ['--app', app]
      const made = await atelier(['webhooks', 'create', `http://127.0.0.1:${port}/hook`, '--name', 'ci', ...of])
      expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=\n$/) })
      const [, id = ''] = /Made the webhook (\w+); try it: /.exec(made.stderr) ?? []
      expect(await said(['webhooks', ...of])).toMatch(new RegExp(`\n${id}  ci    \\*       enabled  http://127`))
      expect(await said(['webhooks', 'test', id, ...of])).toMatch(/^Delivered: 204 in \d+ ms\n$/)
      failed(await atelier(['webhooks', 'test', id, ...of]), 1, 'not delivered: it answered 500')
      const log = await said(['webhooks', 'log', id, ...of])
      expect(log).toMatch(/webhook\.test .* failed +1 +it answered 500\n.*webhook\.test .* delivered +1 +204 in/)
      const [, delivery = ''] = /\n(\d+) .*204 in/.exec(log) ?? []
      failed(await atelier(['webhooks', 'redeliver', id, delivery, ...of]), 1, 'not delivered: it answered 500')
      expect(received[2]).toBe(received[0])
      const shown = await said(['webhooks', 'log', id, delivery, ...of])
      expect(shown).toMatch(/204 in \d+ ms +taken\n.*500 in \d+ ms +it answered 500\n\{"type":"webhook.test"/)
      expect(log + shown).not.toContain('canary')
      expect(await atelier(['webhooks', 'rotate', id, ...of])).toMatchObject({
        stdout: expect.stringMatching(/^whsec_/),
      })
      failed(await atelier(['webhooks', 'rm', 'nothing', ...of]), 1, 'there is no webhook nothing')
      failed(await atelier(['webhooks', 'create', 'ftp://x.example', ...of]), 1, 'https:// or http://')
      const inside = await atelier(['webhooks', 'create', 'http://10.0.0.1/x', ...of])
      failed(inside, 1, '10.0.0.1:80 is a private address; to let the platform call it')
      expect(await said(['webhooks', 'rm', id, ...of])).toContain(`Removed the webhook ${id}`)
      expect(await said(['webhooks', ...of])).toContain('no webhooks')
      expect(await said(['webhooks', '--platform'])).toContain('no webhooks')
    } finally {
      await deliverer.close()
      receiver.close()
    }
  })
})

describe('logs', () => {
  test("of an app carry the version, and its control characters do nothing to the reader's terminal", async () => {
    const line = { appId: app, deploymentId: 'd', version: 'c'.repeat(40), at: new Date(), stream: 'stdout' as const }
    await appendAppLog(plane.sql, [{ ...line, text: 'hello \u001b]52;c;aGk=\u0007world' }])
    const shown = await said(['logs', app])
    expect(shown).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ccccccc hello .*world\n$/)
    expect(shown).not.toMatch(/[\u0007\u001b]/)
  })

  test('of a deployment, by id, number or version; -f goes on to its end', async () => {
    const { id } = await plane.deployed(app, 'd'.repeat(40))
    await appendBuildLog(plane.sql, id, ['one more line'])
    for (const name of [id, 'v1', 'ddddddd'])
      expect(await said(['logs', name, '--app', app])).toContain('one more line\n')
    expect(await said(['logs', id, '-f'])).toContain('one more line\n')
    failed(await atelier(['logs', 'v9', '--app', app]), 1, 'has no deployment v9')
    failed(await atelier(['logs', 'nosuchapp']), 1, 'there is no app nosuchapp')
  })

  test('of an app that is followed until the platform goes away ends with exit code 3, and says so', async () => {
    const line = { type: 'log', at: new Date().toISOString(), version: '1.0.0', stream: 'stdout', text: 'still here' }
    const going = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' }).end(`${JSON.stringify(line)}\n`)
    }).listen(0, '127.0.0.1')
    await once(going, 'listening')
    const more = { ATELIER_URL: `http://localhost:${(going.address() as AddressInfo).port}`, ATELIER_TOKEN: 'atl_x' }
    expect(await said(['logs', '--app', app], { more })).toContain('still here')
    const result = await atelier(['logs', '-f', '--app', app], { more })
    going.close()
    expect(result.stdout).toContain('still here')
    expect(result).toMatchObject({ code: 3, stderr: expect.stringContaining(`atelier logs ${app} -f`) })
  })

  test.each([[[]], [['--json']]])(
    'of an app that a token may not follow any more end with why, also %j',
    async (flags) => {
      const error = { code: 'UNAUTHENTICATED', message: 'the token is no longer valid' }
      const cutting = createServer((_, response) => {
        response.writeHead(200, { 'content-type': 'application/x-ndjson' })
        response.end(`${JSON.stringify({ type: 'end', deployment: null, ok: false, error })}\n`)
      }).listen(0, '127.0.0.1')
      await once(cutting, 'listening')
      const more = {
        ATELIER_URL: `http://localhost:${(cutting.address() as AddressInfo).port}`,
        ATELIER_TOKEN: 'atl_x',
      }
      const result = await atelier(['logs', '-f', '--app', app, ...flags], { more })
      cutting.close()
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(error.message) })
    },
  )

  test('a reader that stops reading is no failure', async () => {
    const { id } = await plane.deployed(app, '1.0.0')
    await appendBuildLog(
      plane.sql,
      id,
      Array.from({ length: 20_000 }, (_, index) => `line ${index} ${'x'.repeat(50)}`),
    )
    const child = spawn(process.execPath, [program, 'logs', id], { cwd: desk, env })
    const told = buffer(child.stderr)
    await once(child.stdout, 'data')
    child.stdout.destroy()
    expect((await once(child, 'close'))[0]).toBe(0)
    expect(String(await told)).toBe('')
  })
})

test('a running deployment is cancelled by number, by id, or as the newest one', async () => {
  await mkdir(join(desk, 'site'))
  await writeFile(join(desk, 'site/index.html'), 'x')
  for (const name of [[], ['v2']]) {
    const deploying = atelier(['deploy', 'site', '--app', app])
    const woken = plane.woken.length
    await expect.poll(() => plane.woken.length).toBe(woken + 1)
    expect(await said(['cancel', ...name, '--app', app])).toContain('is cancelled; what was live stays live')
    failed(await deploying, 1, 'was cancelled')
  }
  failed(await atelier(['cancel', '--app', app]), 1, 'no deployment on its way')
})

test('a preview is promoted', async () => {
  await plane.deployed(app, '1.0.0')
  await plane.deployed(app, '2.0.0', 'pr/3')
  plane.worker.onWake = finish
  expect(await said(['promote', '2.0.0', '--app', app])).toContain(`${app} 2.0.0 (v3) is live at http://${app}.apps`)
})

test('cached answers are purged by tag, by path, or all, and an edge that has not said so is told of', async () => {
  const purge = (...more: string[]) => ['purge', '--app', app, ...more]
  expect(await said(purge('--tag', 'prices', '--tag', 'news', '--path', '/blog/*'))).toBe(
    `${app}: tags prices, news, /blog/* purged on 0 edges\n`,
  )
  expect(await said(purge('--all'))).toBe(`${app}: everything purged on 0 edges\n`)
  expect(await saidJson(purge('--path', '/a'))).toMatchObject({ app_id: app, paths: ['/a'], tags: [], all: false })
  failed(await atelier(purge('--path', 'blog')), 1, 'must begin with /')
  failed(await atelier(purge()), 2, '--tag <tag>, --path </path>, or --all')
  failed(await atelier(purge('--all', '--tag', 'x')), 2, 'leave --tag and --path out')

  await renewLease(plane.sql, 'silent')
  const lease = setInterval(() => void renewLease(plane.sql, 'silent'), 500)
  const result = await atelier(purge('--all'))
  clearInterval(lease)
  await endLease(plane.sql, 'silent')
  expect(result).toMatchObject({ code: 3, stdout: `${app}: everything purged on 0 edges\n` })
  expect(result.stderr).toMatch(/^atelier: 1 edge has not said so yet/)
})

test('the status is a small table', async () => {
  await plane.deployed(app, 'e'.repeat(40))
  const lines = (await said(['status', '--app', app])).split('\n')
  expect(lines[1]).toMatch(/^APP +BRANCH +LIVE +SINCE +RUNS +NEWEST ATTEMPT +ADDRESS$/)
  expect(lines[2]).toMatch(new RegExp(`^${app} +main +eeeeeee +\\d+ s ago +http://${app}.apps.localhost:${port}$`))
})

test('the status and the list of deployments say who sleeps, who is awake, and in how many isolates', async () => {
  const { id } = await plane.deployed(app, 'e'.repeat(40))
  const edges = ['here', 'there']
  const renew = () => Promise.all(edges.map((edge) => renewLease(plane.sql, edge)))
  await renew()
  const lease = setInterval(() => void renew(), 500)
  const report = (edge: string, state: HostReport['state'], isolates = 0) =>
    reportHosts(plane.sql, edge, { changed: [{ deploymentId: id, state, isolates }], gone: [] })
  const line = async () => (await said(['status', '--app', app])).split('\n')[2]
  await report('here', 'asleep')
  expect(await line()).toContain(' asleep until asked ')
  expect(await said(['deploys', '--app', app])).toContain(' live, asleep until asked ')
  await report('there', 'awake', 1)
  expect(await line()).toContain(' awake on 1 of 2 edges ')
  await report('here', 'awake', 3)
  expect(await line()).toContain(' awake, 4 isolates ')
  await report('here', 'awake', 1)
  expect(await line()).toContain(' awake  ')
  await report('here', 'crashed')
  await reportHosts(plane.sql, 'there', { changed: [], gone: [id] })
  expect(await line()).toContain(' crashed, starts again ')
  clearInterval(lease)
  await Promise.all(edges.map((edge) => endLease(plane.sql, edge)))
  expect(await line()).not.toContain('crashed')
})

test('apps are made, listed and, after a yes, removed', async () => {
  const name = `made-${app}`
  expect(await said(['apps', 'create', name])).toContain(`atelier link ${name}`)
  expect(await said(['apps'])).toContain(name)
  failed(await atelier(['apps', 'create', name]), 1, 'there is an app called')
  failed(await atelier(['apps', 'rm', name]), 2, 'nobody to ask')
  expect(await said(['apps', 'rm', name, '--yes'])).toBe(`Removed ${name}\n`)
  failed(await atelier(['apps', 'rm', name, '--yes']), 1, 'there is no app')
})

test('a token is printed alone, works for its app, and is removed', async () => {
  const secret = (await said(['tokens', 'create', 'ci', '--app', app, '--expires', '30'])).trim()
  expect(secret).toMatch(/^atl_[\w-]{43}$/)
  const more = { ATELIER_TOKEN: secret }
  expect(await saidJson(['apps'], { more })).toMatchObject({ apps: [{ id: app }] })
  failed(await atelier(['tokens'], { more }), 1, 'its scope is deploy, not admin')
  const { tokens } = (await saidJson(['tokens', 'list'])) as { tokens: { id: string; app_id: string | null }[] }
  const id = tokens.find((one) => one.app_id === app)?.id ?? ''
  expect(await said(['tokens', 'rm', id])).toContain(id)
  failed(await atelier(['apps'], { more }), 1, 'does not accept this token')
})

test('people are invited, given roles and taken out, and the audit log says by whom', async () => {
  const name = `ada-${app}`
  failed(await atelier(['people', 'invite', 'No One']), 1, "cannot be a person's name")
  const invited = await said(['people', 'invite', name, '--platform-role', 'guest', '--on', `${app}:viewer`])
  expect(invited).toMatch(
    new RegExp(`^${name} is invited.*\\nhttp://console\\.localhost:${port}/#welcome=[\\w-]{43}\\n$`),
  )
  failed(await atelier(['people', 'invite', name]), 1, 'already')
  expect(await said(['people', 'link', name])).toMatch(/#welcome=[\w-]{43}\n$/)
  expect(await said(['members', '--app', app])).toMatch(new RegExp(`${name} +viewer`))
  expect(await said(['members', 'set', name, '--role', 'owner', '--app', app])).toBe(`${name} is owner of ${app}\n`)
  failed(await atelier(['members', 'rm', name, '--app', app]), 1, 'no other owner')
  failed(await atelier(['people', 'rm', name]), 1, '--ownerless')
  failed(await atelier(['members', 'add', 'nobody', '--app', app]), 1, 'nobody called nobody')
  expect(await said(['people', 'role', name, 'member'])).toBe(`${name} is a member of the platform\n`)
  expect(await saidJson(['people'])).toMatchObject({
    people: expect.arrayContaining([expect.objectContaining({ name, roles: { [app]: 'owner' } })]),
  })
  expect(await said(['people', 'sign-out', name])).toBe(`${name} is signed out of 0 browsers\n`)
  expect(await said(['people', 'rm', name, '--ownerless'])).toContain(`Removed ${name}`)
  const { entries } = (await saidJson(['audit', '--app', app, '--limit', '5'])) as {
    entries: Record<string, unknown>[]
  }
  expect(entries).toContainEqual(
    expect.objectContaining({
      what: 'set member',
      action: 'PUT /apps/{app}/members/{person}',
      via: 'cli',
      outcome: 'done',
    }),
  )
  const table = await said(['audit', '--app', app])
  expect(table).toMatch(new RegExp(` set member .*person=${name} `))
  expect(table).not.toMatch(/(POST|PUT|DELETE) \//)
})

test('whoami says where, who and by which token; logout forgets it, and ends it when asked to', async () => {
  const ada = await plane.person('member', { [app]: 'owner' })
  const token = await ada.token('admin')
  const url = `http://localhost:${port}`
  failed(await atelier(['logout']), 1, 'you are not signed in')
  await said(['login', url, '--token', token])
  const shown = await said(['whoami'])
  expect(shown).toContain(`http://api.localhost:${port}\n  person   ${ada.name}, member of the platform\n`)
  expect(shown).toContain(`owner of ${app}\n  token    admin-of-${ada.name} (admin), does not expire\n`)
  const api = `http://api.localhost:${port}`
  expect(await saidJson(['whoami'])).toMatchObject({ api, name: ada.name, token: { expires_at: null } })
  expect(await said(['logout'])).toContain('The token itself stays good')
  const kept = await readFile(join(desk, '.config/atelier/config.json'), 'utf8')
  expect(JSON.parse(kept)).toEqual({ current: null, tokens: {} })
  await writeFile(
    join(desk, '.config/atelier/config.json'),
    JSON.stringify({ current: null, tokens: { [api]: token } }),
  )
  failed(await atelier(['logout']), 2, `say which of the others: ${api}`)
  await said(['login', url, '--token', token])
  expect(await saidJson(['logout', url, '--revoke'])).toEqual({ api, revoked: true })
  failed(await atelier(['login', url, '--token', token]), 1, 'does not accept this token')
})

test('a person removes all tokens of theirs but the one they use, and an admin all of somebody’s', async () => {
  const ada = await plane.person('member')
  const [own] = [await ada.token('admin'), await ada.token('read'), await ada.token('deploy')]
  const more = { ATELIER_TOKEN: own }
  failed(await atelier(['tokens', 'rm'], { more }), 2, '--all')
  failed(await atelier(['tokens', 'rm', 'some', '--all'], { more }), 2, 'its id (atelier tokens), or --all')
  expect(await said(['tokens', 'rm', '--all'], { more })).toBe(
    'Removed 2 tokens of yours; the one this command uses stays\n',
  )
  expect(await saidJson(['tokens'], { more })).toMatchObject({ tokens: [{ person: ada.name, scope: 'admin' }] })
  expect(await said(['people', 'sign-out', ada.name, '--tokens'])).toBe(
    `${ada.name} is signed out of 0 browsers\nRemoved one token of theirs\n`,
  )
  failed(await atelier(['tokens'], { more }), 1, 'does not accept this token')
})

test('an admin ends all tokens of their own and is signed out of every browser too', async () => {
  const ada = await plane.person('admin')
  const more = { ATELIER_TOKEN: await ada.token('admin') }
  expect(await said(['people', 'sign-out', ada.name, '--tokens'], { more })).toBe(
    `${ada.name} is signed out of 0 browsers\nRemoved one token of theirs\n`,
  )
  failed(await atelier(['whoami'], { more }), 1, 'does not accept this token')
})

test('open prints the address where there is no browser, and the console with a sign-in link', async () => {
  expect(await said(['open', '--app', app])).toBe(`http://${app}.apps.localhost:${port}\n`)
  expect(await said(['open', '--console'])).toMatch(
    new RegExp(`^http://console.localhost:${port}/#token=[\\w-]{43}\n$`),
  )
})

describe('typed wrongly', () => {
  test.each([
    [['help', 'rolback'], "unknown command 'rolback'; did you mean rollback?"],
    [['rolback'], "unknown command 'rolback'; did you mean rollback?"],
    [['deploys', '--aap', 'x'], "unknown option '--aap'; did you mean --app?"],
    [['apps', 'lst'], 'apps has no command lst'],
    [['promote'], "missing required argument 'to'"],
    [['rollback', 'a', 'b'], 'too many arguments'],
    [['deploys', '-n', 'many'], 'It must be a number from 1 to 200.'],
    [['tokens', 'create', 'x', '--scope', 'root'], 'Allowed choices are read, deploy, admin'],
    [['people', 'invite', 'x', '--on', 'hello'], 'hello:owner, hello:deployer or hello:viewer'],
    [['people', 'role', 'x', 'root'], 'admin, member or guest'],
    [['serve', 'everything'], 'Allowed choices are'],
    [['--nonsense'], "unknown option '--nonsense'"],
  ])('%j is told, with exit code 2', async (args, words) => {
    const result = await atelier(args)
    expect(result).toMatchObject({ code: 2, stdout: '' })
    expect(result.stderr).toMatch(/^atelier: /)
    expect(result.stderr).toContain(words)
  })

  test('without a command it shows them all', async () => {
    const result = await atelier([])
    expect(result.code).toBe(2)
    expect(result.stderr).toContain('rollback')
  })
})

test.each([
  ['help'],
  ['--help'],
  ['help', 'deploy'],
  ['deploy', '--help'],
  ['version'],
  ['--version'],
  ['version', '--json'],
])('atelier %s %s answers without any platform', async (...args) => {
  const result = await atelier(args, { more: { ATELIER_HOME: '/nowhere' } })
  expect(result).toMatchObject({ code: 0, stderr: '' })
  expect(result.stdout).not.toBe('')
})

test('nothing is coloured where nobody looks', async () => {
  await plane.deployed(app, '1.0.0')
  for (const args of [['status'], ['deploys', '--app', app], ['help']]) expect(await said(args)).not.toContain('\u001b')
})
