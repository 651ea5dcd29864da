import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { linked } from './support/linked-app.ts'
import { connectToHome } from './support/platform-database.ts'

const soon = { timeout: 120_000, interval: 100 }

test.override('platformEnv', {
  ATELIER_OUTBOUND_ALLOW: '127.0.0.31/32,127.0.0.32/32',
  ATELIER_RECONCILE_SEC: '1',
  ATELIER_REPO_POLL_SEC: '3600',
  ATELIER_FETCH_TIMEOUT_SEC: '60',
})

const page = (text: string) => ({ 'index.html': text })

for (const kind of ['github', 'gitea'] as const)
  test(`a pull request at ${kind}: opened it is live and told of, changed it is updated, closed every trace is gone`, async ({
    atelier,
  }) => {
    const app = `pulled-${kind}`
    const { forge, hook, shown } = await linked(atelier, kind, app)
    const first = await forge.propose(42, page('first'))
    expect(await forge.tell(hook, 'opened', 42)).toBe(202)
    await expect.poll(() => shown(`${app}-pr-42`), soon).toBe('first')
    await expect.poll(() => forge.statusOf(first)?.state, soon).toBe('success')
    const url = `http://${app}-pr-42.apps.localhost:${atelier.port}`
    expect(forge.statusOf(first)).toMatchObject({ context: `atelier/${app}`, target_url: url })
    expect((await atelier.get(`${app}-pr-42`, '/')).headers['x-robots-tag']).toBe('noindex')
    await expect.poll(() => forge.commentsOf(42).join(), soon).toContain(url)

    const second = await forge.propose(42, page('second'))
    expect(await forge.tell(hook, 'synchronize', 42)).toBe(202)
    await expect.poll(() => shown(`${app}-pr-42`), soon).toBe('second')
    await expect.poll(() => forge.commentsOf(42).join(), soon).toMatch(new RegExp(`live.*${second.slice(0, 7)}`))
    const listed = await atelier.cli(['previews', '-a', app])
    expect(listed.stdout).toMatch(new RegExp(`pr/42 +${second.slice(0, 7)} +live .*${url}`))

    await forge.propose(42, { 'package.json': '{"scripts":{"build":"exit 3"},"devDependencies":{}}' })
    await forge.tell(hook, 'synchronize', 42)
    await expect.poll(() => forge.statuses.at(-1)?.state, soon).toBe('failure')
    expect(await shown(`${app}-pr-42`)).toBe('second')

    forge.close(42)
    expect(await forge.tell(hook, 'closed', 42)).toBe(202)
    await expect.poll(async () => (await atelier.get(`${app}-pr-42`, '/')).status, soon).toBe(404)
    await expect.poll(() => forge.commentsOf(42).join(), soon).toContain('removed')
    expect(forge.commentsOf(42)).toHaveLength(1)
    expect(forge.comments[0]?.edits).toBeGreaterThan(1)
    const sql = await connectToHome(atelier.home)
    await expect.poll(() => sql`select branch from repo_heads where app_id = ${app}`, soon).toEqual([])
    expect(await sql`select label from routes where app_id = ${app} and environment = 'preview'`).toEqual([])
    expect((await atelier.cli(['previews', '-a', app])).stdout).toContain('has no previews')
  })

test('a commit whose pull request is closed while it is built is not left pending at the host', async ({ atelier }) => {
  const { forge, hook } = await linked(atelier, 'gitea', 'hasty')
  const sha = await forge.propose(3, {
    'package.json': JSON.stringify({ type: 'module', scripts: { build: 'node build.mjs' } }),
    'build.mjs': 'setInterval(() => undefined, 1000)',
    'atelier.config.json': JSON.stringify({ build: { script: 'build.mjs', output: 'out' } }),
  })
  expect(await forge.tell(hook, 'opened', 3)).toBe(202)
  await expect
    .poll(() => forge.statusOf(sha), soon)
    .toMatchObject({ state: 'pending', description: expect.stringContaining('built') })
  forge.close(3)
  expect(await forge.tell(hook, 'closed', 3)).toBe(202)
  await expect
    .poll(() => forge.statusOf(sha), soon)
    .toMatchObject({ state: 'error', description: expect.stringContaining('closed') })
  await expect.poll(() => forge.commentsOf(3).join(), soon).toContain('removed')
})

test('a push webhook deploys production, and is held after a rollback until somebody lets it on', async ({
  atelier,
}) => {
  const { forge, hook, shown } = await linked(atelier, 'gitea', 'pushed')
  const push = async (text: string) => forge.tellOfPush(hook, await forge.push(page(text)))
  expect(await push('one')).toBe(202)
  await expect.poll(() => shown('pushed'), soon).toBe('one')
  await push('two')
  await expect.poll(() => shown('pushed'), soon).toBe('two')
  expect(await atelier.cli(['rollback', '-a', 'pushed'])).toMatchObject({ code: 0 })
  await expect.poll(() => shown('pushed'), soon).toBe('one')
  await push('three')
  await expect
    .poll(() => forge.statuses.at(-1), soon)
    .toMatchObject({ state: 'pending', description: expect.stringMatching(/unlock|back/) })
  expect(await shown('pushed')).toBe('one')
  expect(await atelier.cli(['unlock', '-a', 'pushed'])).toMatchObject({ code: 0 })
  await push('four')
  await expect.poll(() => shown('pushed'), soon).toBe('four')
})

test('B6: a fork is not built unless its very commit was approved, and then without secrets and caches of the app', async ({
  atelier,
}) => {
  const app = 'forked'
  const { forge, hook, shown } = await linked(atelier, 'github', app)
  for (const preview of [[], ['--preview']])
    await atelier.cli(['env', 'set', 'CANARY=secret-of-the-app-7261', '-a', app, ...preview])
  const nosy = (name: string) => ({
    'package.json': JSON.stringify({ scripts: { build: 'node look.mjs' }, devDependencies: {} }),
    'atelier.config.json': JSON.stringify({ build: { script: 'look.mjs', output: 'out' } }),
    'look.mjs': `import { mkdirSync, writeFileSync } from 'node:fs'
      mkdirSync('out', { recursive: true })
      writeFileSync('out/index.html', '${name} ' + Object.entries(process.env).join('|'))`,
  })
  await forge.propose(1, nosy('ours'))
  await forge.tell(hook, 'opened', 1)
  await expect.poll(() => shown(`${app}-pr-1`), soon).toContain('secret-of-the-app-7261')

  const sql = await connectToHome(atelier.home)
  const noteOf = async (number: number) =>
    (
      await sql<
        { note: string | null }[]
      >`select note from repo_heads where app_id = ${app} and pull_request = ${number}`
    )[0]?.note
  const made = (number: number) => sql`select id from deployments where app_id = ${app} and branch = ${`pr/${number}`}`

  await forge.propose(7, nosy('off'), { from: 'mallory/hello' })
  await forge.tell(hook, 'opened', 7)
  await expect.poll(() => noteOf(7), soon).toContain('fork')
  const refused = await atelier.cli(['previews', 'approve', '7', '0'.repeat(40), '-a', app])
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('--forks approve') })
  expect(forge.commentsOf(7)).toEqual([])

  const again = [
    'repo',
    'link',
    forge.url,
    '-a',
    app,
    '--host',
    'github',
    '--secret',
    hook.secret,
    '--forks',
    'approve',
  ]
  expect(await atelier.cli(again)).toMatchObject({ code: 0 })
  const sha1 = await forge.propose(8, nosy('sha1'), { from: 'mallory/hello' })
  await forge.tell(hook, 'opened', 8)
  await expect.poll(() => forge.commentsOf(8).join(), soon).toContain(`atelier previews approve 8 ${sha1}`)
  expect(await made(8)).toEqual([])
  expect((await atelier.get(`${app}-pr-8`, '/')).status).toBe(404)

  expect(await atelier.cli(['previews', 'approve', '8', sha1, '-a', app])).toMatchObject({ code: 0 })
  await expect.poll(() => shown(`${app}-pr-8`), soon).toMatch(/^sha1 /)
  expect(await shown(`${app}-pr-8`)).not.toContain('secret-of-the-app')
  const [row] = await sql`select env_snapshot, options from deployments where app_id = ${app} and branch = 'pr/8'`
  expect(row).toMatchObject({ envSnapshot: {}, options: { fork: true } })

  const sha2 = await forge.propose(8, nosy('sha2'), { from: 'mallory/hello' })
  await forge.tell(hook, 'synchronize', 8)
  await expect.poll(() => noteOf(8), soon).toContain('approve')
  expect(await made(8)).toHaveLength(1)
  expect(await shown(`${app}-pr-8`)).toMatch(/^sha1 /)
  const stale = await atelier.cli(['previews', 'approve', '8', sha1, '-a', app])
  expect(stale).toMatchObject({ code: 1, stderr: expect.stringContaining(sha2) })
  expect(await made(8)).toHaveLength(1)

  const promoted = await atelier.cli(['promote', sha1, '-a', app])
  expect(promoted).toMatchObject({ code: 1, stderr: expect.stringContaining('fork') })
  expect((await atelier.get(app, '/')).status).toBe(404)
  const redone = await atelier.cli(['redeploy', sha1, '--build', '--branch', 'pr/8', '-a', app])
  expect(redone.code).toBe(0)
  expect(await shown(`${app}-pr-8`)).not.toContain('secret-of-the-app')
})

test("B6: a fork's preview and one that was pushed to the same branch find nothing of each other, whichever comes first", async ({
  atelier,
}) => {
  const app = 'neighbours'
  const { forge, hook, shown } = await linked(atelier, 'github', app, '--forks', 'approve')
  // What it finds at /data and as its database, and leaves there for whoever comes next.
  const nosy = (name: string) => ({
    'package.json': JSON.stringify({ name: 'nosy', type: 'module', main: 'server.js' }),
    'atelier.config.json': JSON.stringify({ data: true, database: { provision: true } }),
    'server.js': `import { createServer } from 'node:http'
      import { readdirSync, writeFileSync } from 'node:fs'
      const found = readdirSync(process.env.DATA_DIR).filter((one) => one !== '${name}')
      writeFileSync(process.env.DATA_DIR + '/${name}', 'x')
      const database = new URL(process.env.DATABASE_URL).pathname
      createServer((request, response) => response.end(JSON.stringify({ name: '${name}', found, database }))).listen(process.env.PORT)`,
  })
  const seen = async (name: string): Promise<{ found: string[]; database: string }> => {
    await expect.poll(() => shown(`${app}-pr-9`), soon).toContain(`"name":"${name}"`)
    return JSON.parse(await shown(`${app}-pr-9`))
  }
  const repo = await atelier.clone(app)
  const push = async (name: string) => {
    await repo.commit(nosy(name))
    await repo.git('push', 'atelier', 'HEAD:refs/heads/pr/9')
    return seen(name)
  }
  const approve = async (name: string) => {
    const sha = await forge.propose(9, nosy(name), { from: 'mallory/hello' })
    await forge.tell(hook, 'synchronize', 9)
    await expect.poll(() => forge.commentsOf(9).join(), soon).toContain(sha)
    expect(await atelier.cli(['previews', 'approve', '9', sha, '-a', app])).toMatchObject({ code: 0 })
    return seen(name)
  }
  const rooms = [await push('own1'), await approve('fork1'), await push('own2'), await approve('fork2')]
  expect(rooms.map(({ found }) => found)).toEqual([[], [], [], []])
  expect(new Set(rooms.map(({ database }) => database)).size).toBe(4)
  // The positive control: within one standing it is the same room.
  const again = await approve('fork3')
  expect(again).toMatchObject({ found: ['fork2'], database: rooms[3]?.database })
})

test('a host that answers never, wrongly or with errors holds up no deployment, and hears of it when it is back', async ({
  atelier,
}) => {
  const { forge, hook, shown } = await linked(atelier, 'gitea', 'troubled')
  let sha = ''
  for (const [number, trouble] of [
    [1, 'silent'],
    [2, 'wrong'],
    [3, 'failing'],
  ] as const) {
    forge.trouble = trouble
    sha = await forge.propose(number, page(trouble))
    expect(await forge.tell(hook, 'opened', number)).toBe(202)
    await expect.poll(() => shown(`troubled-pr-${number}`), soon).toBe(trouble)
  }
  expect(forge.statusOf(sha)).toBeUndefined()
  await expect.poll(async () => (await atelier.cli(['repo', '-a', 'troubled'])).stdout, soon).toMatch(/problem +/)
  forge.trouble = 'none'
  const sql = await connectToHome(atelier.home)
  await sql`update repo_heads set tell_after = now() where app_id = 'troubled'`
  for (const number of [1, 2, 3]) await expect.poll(() => forge.commentsOf(number).length, soon).toBe(1)
  await expect.poll(() => forge.statusOf(sha)?.state, soon).toBe('success')
})

test('what no webhook told is found by asking: a closed pull request, a new one, a new head', async ({ atelier }) => {
  const { forge, hook, shown } = await linked(atelier, 'github', 'missed')
  const sql = await connectToHome(atelier.home)
  const askNow = () => sql`update repo_links set poll_after = now() where app_id = 'missed'`
  await forge.propose(5, page('five'))
  await forge.tell(hook, 'opened', 5)
  await expect.poll(() => shown('missed-pr-5'), soon).toBe('five')

  // First: the platform asks by itself as well.
  forge.trouble = 'wrong'
  forge.close(5)
  await forge.propose(6, page('six'))
  await askNow()
  await expect
    .poll(async () => (await sql`select poll_error from repo_links where app_id = 'missed'`)[0]?.pollError, soon)
    .toMatch(/JSON/)
  expect(await shown('missed-pr-5')).toBe('five')

  forge.trouble = 'none'
  await askNow()
  await expect.poll(async () => (await atelier.get('missed-pr-5', '/')).status, soon).toBe(404)
  await expect.poll(() => shown('missed-pr-6'), soon).toBe('six')
  await forge.propose(6, page('six again'))
  await askNow()
  await expect.poll(() => shown('missed-pr-6'), soon).toBe('six again')
})

test('a production branch that is gone at the host keeps no preview of a closed pull request', async ({ atelier }) => {
  const { forge, hook, shown } = await linked(atelier, 'gitea', 'renamed')
  await forge.tellOfPush(hook, await forge.push(page('production')))
  await expect.poll(() => shown('renamed'), soon).toBe('production')
  await forge.propose(5, page('five'))
  await forge.tell(hook, 'opened', 5)
  await expect.poll(() => shown('renamed-pr-5'), soon).toBe('five')

  forge.renameMain()
  forge.close(5)
  const sql = await connectToHome(atelier.home)
  await sql`update repo_links set poll_after = now() where app_id = 'renamed'`
  await expect.poll(async () => (await atelier.get('renamed-pr-5', '/')).status, soon).toBe(404)
  expect(forge.calls.some((call) => call.startsWith('GET') && call.includes('/branches/main'))).toBe(true)
  expect(await sql`select poll_error from repo_links where app_id = 'renamed'`).toEqual([{ pollError: null }])
  expect(await shown('renamed')).toBe('production')
})

test('a preview that grew old goes, and of too many the oldest; removed by hand it stays away until the next commit', async ({
  atelier,
}) => {
  const { forge, hook, shown } = await linked(atelier, 'gitea', 'bounded')
  const sql = await connectToHome(atelier.home)
  const gone = (host: string) => expect.poll(async () => (await atelier.get(host, '/')).status, soon).toBe(404)
  for (const number of [1, 2, 3]) {
    await forge.propose(number, page(`no ${number}`))
    await forge.tell(hook, 'opened', number)
    await expect.poll(() => shown(`bounded-pr-${number}`), soon).toBe(`no ${number}`)
  }
  expect(await atelier.cli(['previews', 'set', '--most', '2', '--ttl', '36h', '-a', 'bounded'])).toMatchObject({
    code: 0,
  })
  await gone('bounded-pr-1')
  expect(await shown('bounded-pr-2')).toBe('no 2')
  await sql`
    update deployments
    set created_at = now() - interval '40 hours'
    where app_id = 'bounded' and branch = 'pr/2'
  `
  await gone('bounded-pr-2')
  await expect.poll(() => forge.commentsOf(2).join(), soon).toContain('36 hours')
  expect(await atelier.cli(['previews', 'rm', '3', '-a', 'bounded'])).toMatchObject({ code: 0 })
  await gone('bounded-pr-3')
  await forge.tell(hook, 'synchronize', 3)
  await forge.propose(2, page('again'))
  await forge.tell(hook, 'synchronize', 2)
  await expect.poll(() => shown('bounded-pr-2'), soon).toBe('again')
  expect((await atelier.get('bounded-pr-3', '/')).status).toBe(404)
})
