import { randomBytes } from 'node:crypto'
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { extract } from 'tar'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { deleteApp, findApp } from '../registry/apps.ts'
import { sourceKey } from '../registry/bundle-store/keys.ts'
import { readRoutes } from '../registry/routes.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { flushPacket } from './pkt-line.ts'
import { basic, clientOf, pushHead } from './test-client.ts'
import { buildsWell, startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo, runGit } from './test-repo.ts'

let database: TestDatabase
let gateway: TestGateway

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database)
})
beforeEach(() => gateway.play(buildsWell))
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

test('a first push creates the app, shows its build and ends with the address; the next names the way back', async () => {
  await using repo = await makeRepo(gateway.url('hello'))
  const first = await repo.commit({ 'index.html': 'one' })
  const pushed = await repo.push('main')
  expect(pushed).toMatchObject({ code: 0 })
  expect(pushed.stderr).toMatch(/^remote: -----> Created +the app hello/)
  expect(pushed.stderr).toContain(`remote: -----> hello ${first.slice(0, 7)} · static files`)
  expect(pushed.stderr).toMatch(/remote: -----> Live +http:\/\/hello\.apps\.localhost +\d+\.\d s in all/)
  expect(pushed.stderr).toContain('* [new branch]      main -> main')
  expect(await gateway.refs('hello')).toEqual({ 'refs/heads/main': first })

  const second = await repo.commit({ 'index.html': 'two' })
  const again = await repo.push('main')
  expect(again.stderr).toMatch(/s in all, last time \d+\.\d s/)
  expect(again.stderr).toContain(`back: atelier rollback ${first.slice(0, 7)}`)
  expect(await gateway.deployments('hello')).toMatchObject([
    { gitSha: second, oldSha: first, state: 'live', subject: 'change', ref: 'refs/heads/main', createdBy: 'ada' },
    { gitSha: first, state: 'superseded' },
  ])
})

test('a failed build refuses the ref with its reason in the line of git, and pushing again tries again', async () => {
  await using repo = await makeRepo(gateway.url('broken'))
  const sha = await repo.commit({ 'index.html': 'one' })
  gateway.play(async (_claim, say) => {
    await say('       Error: cannot resolve ./missing')
    return 'build failed: vite exited 1'
  })
  const pushed = await repo.push('main')
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain('remote:        Error: cannot resolve ./missing')
  expect(pushed.stderr).toContain('! [remote rejected] main -> main (build failed: vite exited 1)')
  expect(await gateway.refs('broken')).toEqual({})

  gateway.play(buildsWell)
  expect(await repo.push('main')).toMatchObject({ code: 0 })
  expect(await gateway.refs('broken')).toEqual({ 'refs/heads/main': sha })
})

test('G17: whatever a build prints arrives as text: emoji, colours, long lines, and nothing that steers a terminal', async () => {
  await using repo = await makeRepo(gateway.url('noisy'))
  await repo.commit({ 'index.html': 'one' })
  gateway.play(async (_claim, say) => {
    await say('✓ built 🎉 \x1b[32mgreen\x1b[0m')
    await say(`${'é'.repeat(70_000)}end`)
    await say('\x1b]0;title\x07\x1b[2J\x1b]8;;http://evil\x07link\x9b31m\u202Egnp')
    return 'build failed:\nremote: \x1b[31mforged\x1b[0m line'
  })
  const pushed = await repo.push('main')
  expect(pushed.stderr).toContain('remote: ✓ built 🎉 \x1b[32mgreen\x1b[0m')
  expect(pushed.stderr).toContain('remote: link')
  expect(pushed.stderr.replaceAll(/\x1b\[(32|0)?m/g, '')).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/)
  expect(pushed.stderr).toContain('! [remote rejected] main -> main (build failed: remote: forged line)')

  gateway.play(async (_claim, say) => {
    await say('✓ built 🎉')
    await say(`${'✓'.repeat(70_000)}end`)
    return undefined
  })
  const taken = await repo.push('main')
  expect(taken).toMatchObject({ code: 0, stderr: expect.stringContaining('remote: ✓ built 🎉') })
})

test('a force-push replaces history when it is forced, and not before', async () => {
  await using repo = await makeRepo(gateway.url('forced'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  await repo.git('commit', '-q', '--amend', '-m', 'rewritten')
  const plain = await repo.push('main')
  expect(plain).toMatchObject({ code: 1, stderr: expect.stringContaining('! [rejected]') })
  const forced = await repo.push('--force', 'main')
  expect(forced).toMatchObject({ code: 0, stderr: expect.stringContaining('(forced update)') })
  expect(await gateway.refs('forced')).toEqual({
    'refs/heads/main': (await repo.git('rev-parse', 'HEAD')).stdout.trim(),
  })
})

test('a push that is not forced and that the server has moved past is told to fetch first', async () => {
  await using one = await makeRepo(gateway.url('stale'))
  await one.commit({ a: '1' })
  await one.push('main')
  await using two = await makeRepo(gateway.url('stale'))
  await two.git('fetch', '-q', 'atelier')
  await two.git('reset', '-q', '--hard', 'atelier/main')
  await one.commit({ a: '2' })
  await one.push('main')
  await two.commit({ b: '1' })
  expect(await two.push('main')).toMatchObject({ code: 1, stderr: expect.stringContaining('(fetch first)') })
})

test('G5: deleting a branch tears its preview down; the production branch stays', async () => {
  await using repo = await makeRepo(gateway.url('previews'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  const opened = await repo.push('main:pr/42')
  expect(opened.stderr).toContain('http://previews-pr-42.apps.localhost')
  expect(await labels('previews')).toEqual(['previews', 'previews-pr-42'])

  const deleted = await repo.push('--delete', 'pr/42')
  expect(deleted.code).toBe(0)
  expect(deleted.stderr).toContain('remote: The preview http://previews-pr-42.apps.localhost is taken down.')
  expect(await labels('previews')).toEqual(['previews'])
  expect(Object.keys(await gateway.refs('previews'))).toEqual(['refs/heads/main'])

  const mixed = await repo.push(':main', 'main:feature')
  expect(mixed.stderr).toContain('(main is what previews serves; to end the app: atelier apps rm previews)')
  expect(mixed.stderr).toContain('main -> feature (not pushed, for "refs/heads/main" in the same push was refused)')
  const refused = await repo.push('--delete', 'main')
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('(main is what previews serves; to end the app: atelier apps rm previews)')
  expect(await labels('previews')).toEqual(['previews'])
  expect(Object.keys(await gateway.refs('previews'))).toEqual(['refs/heads/main'])
})

test('G5: only the branch main itself deploys production', async () => {
  await using repo = await makeRepo(gateway.url('exact'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  await repo.commit({ 'index.html': 'two' })
  const pushed = await repo.push('main:main00-evil', 'main:mai', 'main:a/main', 'main:Main')
  expect(pushed).toMatchObject({ code: 0 })
  const production = (await gateway.deployments('exact')).filter(({ environment }) => environment === 'production')
  expect(production).toMatchObject([{ ref: 'refs/heads/main', state: 'live' }])
  expect(await gateway.deployments('exact')).toHaveLength(5)
})

test('G5: the empty request that git sends before a large push deploys nothing and makes no app', async () => {
  const probe = { headers: { authorization: basic(gateway.secret) }, body: flushPacket }
  expect(await clientOf(gateway).send('POST', '/probed.git/git-receive-pack', probe)).toMatchObject({ status: 200 })
  expect(await findApp(database.sql, 'probed')).toBeNull()

  await using repo = await makeRepo(gateway.url('probed'))
  await writeFile(join(repo.path, 'random.bin'), randomBytes(3_000_000))
  const sha = await repo.commit({})
  expect(await repo.push('main')).toMatchObject({ code: 0 })
  expect(await gateway.deployments('probed')).toMatchObject([{ gitSha: sha, state: 'live' }])
})

test('tags are kept with a sentence and deploy nothing', async () => {
  await using repo = await makeRepo(gateway.url('tagged'))
  const sha = await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  await repo.git('tag', 'v1')
  await repo.git('tag', '-a', 'v2', '-m', 'annotated')
  const pushed = await repo.push('--tags')
  expect(pushed.code).toBe(0)
  expect(pushed.stderr).toContain('remote: Tags are kept and deploy nothing; a branch does: git push atelier main')
  expect(await gateway.refs('tagged')).toMatchObject({ 'refs/tags/v1': sha, 'refs/tags/v2': expect.any(String) })
  expect(await gateway.deployments('tagged')).toHaveLength(1)

  expect(await repo.push('--delete', 'v1')).toMatchObject({ code: 0 })
  expect(Object.keys(await gateway.refs('tagged'))).toEqual(['refs/heads/main', 'refs/tags/v2'])
})

test('several refs in one push each get their own deployment, and their lines their name', async () => {
  await using repo = await makeRepo(gateway.url('several'))
  await repo.commit({ 'index.html': 'one' })
  await repo.git('branch', 'feature/login')
  await repo.git('tag', 'v1')
  gateway.play(async (claim, say) => {
    await say(`-----> building for ${claim.environment}`)
    return claim.environment === 'preview' ? 'build failed: no entry' : undefined
  })
  const pushed = await repo.push('main', 'feature/login', 'v1')
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain('remote: main          -----> building for production')
  expect(pushed.stderr).toContain('remote: feature/login -----> building for preview')
  expect(pushed.stderr).toContain('* [new branch]      main -> main')
  expect(pushed.stderr).toContain('* [new tag]         v1 -> v1')
  expect(pushed.stderr).toContain('! [remote rejected] feature/login -> feature/login (build failed: no entry)')
  const states = (await gateway.deployments('several')).map(({ branch, state }) => [branch, state])
  expect(states.sort()).toEqual([
    ['feature/login', 'failed'],
    ['main', 'live'],
  ])
})

test('G5: a push with an illegal ref among its refs is refused whole, before anything is kept', async () => {
  await using repo = await makeRepo(gateway.url('mixed'))
  await repo.commit({ 'index.html': 'one' })
  const pushed = await repo.push('main', 'main:refs/replace/abc')
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toContain('main -> refs/replace/abc (only branches and tags are taken')
  expect(pushed.stderr).toContain('main -> main (not pushed, for "refs/replace/abc" in the same push was refused)')
  expect(await findApp(database.sql, 'mixed')).toBeNull()
})

test('an empty commit deploys, and a push of nothing new does nothing', async () => {
  await using repo = await makeRepo(gateway.url('empty'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  const empty = await repo.commit({}, 'nothing changed')
  expect(await repo.push('main')).toMatchObject({ code: 0 })
  expect(await repo.push('main')).toMatchObject({ code: 0, stderr: 'Everything up-to-date\n' })
  expect((await gateway.deployments('empty')).map(({ gitSha, state }) => [gitSha === empty, state])).toEqual([
    [true, 'live'],
    [false, 'superseded'],
  ])
})

test('master is production when it comes first, and a clone checks it out', async () => {
  await using repo = await makeRepo(gateway.url('mastered'), { branch: 'master' })
  await repo.commit({ 'index.html': 'one' })
  const pushed = await repo.push('master')
  expect(pushed.stderr).toMatch(/http:\/\/mastered\.apps\.localhost /)
  const later = await repo.push('master:main')
  expect(later.stderr).toContain('http://mastered-git-main.apps.localhost')

  const cloned = await runGit(repo.path, ['clone', '-q', gateway.url('mastered'), 'copy'])
  expect(cloned).toMatchObject({ code: 0 })
  expect((await runGit(`${repo.path}/copy`, ['branch', '--show-current'])).stdout).toBe('master\n')
})

test('main is production when it comes in one push with master', async () => {
  await using repo = await makeRepo(gateway.url('both'), { branch: 'master' })
  await repo.commit({ 'index.html': 'one' })
  await repo.git('branch', 'main')
  await repo.push('master', 'main')
  expect(await labels('both')).toEqual(['both', 'both-git-master'])
})

test('a token that may read clones and fetches, and may not push', async () => {
  await using repo = await makeRepo(gateway.url('readable'))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  const readOnly = gateway.url('readable', { password: await gateway.token('read', 'readable') })
  await using copy = await makeRepo(readOnly)
  expect(await copy.git('fetch', '-q', 'atelier')).toMatchObject({ code: 0 })
  expect(await copy.git('-c', 'protocol.version=0', 'fetch', '-q', 'atelier')).toMatchObject({ code: 0 })
  expect((await copy.git('show', 'atelier/main:index.html')).stdout).toBe('one')
  await copy.commit({ 'index.html': 'two' })
  const pushed = await copy.push('main')
  expect(pushed.code).not.toBe(0)
  expect(pushed.stderr).toMatch(/remote: the token .* may not do that: its scope is read, not deploy/)
})

test('G12: push options: canary=skip and force-build reach the deployment, others are refused by name', async () => {
  await using repo = await makeRepo(gateway.url('options'))
  const sha = await repo.commit({ 'index.html': 'one' })
  const refused = await repo.push('-o', 'canary=skip', '-o', 'a;b=c', 'main')
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('(unknown push option "a;b=c"; there are: canary=skip, follow, force-build, unlock)')
  expect(await findApp(database.sql, 'options')).toBeNull()

  expect(await repo.push('-o', 'canary=skip', '-o', 'force-build', '-o', 'follow', 'main')).toMatchObject({ code: 0 })
  expect(await gateway.deployments('options')).toMatchObject([
    { gitSha: sha, options: { canary: 'skip', forceBuild: true, clearCaches: true } },
  ])
})

test('G12: options that git itself would not send are refused too, and none is cut into others', async () => {
  await using repo = await makeRepo(gateway.url('raw-options'))
  const sha = await repo.commit({ 'index.html': 'one' })
  await writeFile(join(repo.path, 'revs'), `${sha}\n`)
  await repo.git('-c', 'alias.mk=!git pack-objects --revs --stdout < revs > pack', 'mk')
  const pack = await readFile(join(repo.path, 'pack'))
  const push = async (...options: string[]) => {
    const body = Buffer.concat([pushHead(sha, { options }), pack])
    const headers = { authorization: basic(gateway.secret) }
    return (await clientOf(gateway).send('POST', '/raw-options.git/git-receive-pack', { headers, body })).text
  }
  for (const option of [
    'canary=skip\nforce-build',
    'force-build;canary=skip',
    'force-build\0',
    'x'.repeat(65_000),
    '',
    ' follow',
  ]) {
    expect(await push('follow', option)).toContain('ng refs/heads/main unknown push option')
  }
  expect(await findApp(database.sql, 'raw-options')).toBeNull()
  expect(await push(...Array.from({ length: 20_000 }, () => 'canary=skip;'))).not.toContain('ok refs')
  expect(await push('follow', 'unlock')).toContain('ok refs/heads/main')
  expect(await gateway.deployments('raw-options')).toMatchObject([{ options: {} }])
})

test('G9: the source of a push holds every file, whatever its .gitattributes say', async () => {
  await using repo = await makeRepo(gateway.url('attributed'))
  const sha = await repo.commit({
    '.gitattributes': 'secret.txt export-ignore\nversion.txt export-subst\n',
    'secret.txt': 'kept',
    'version.txt': '$Format:%H$',
  })
  await repo.push('main')
  const into = await mkdtemp(join(tmpdir(), 'source-'))
  await extract({ file: gateway.store.localPath(sourceKey('attributed', sha)) ?? '', cwd: into, zstd: true })
  expect(await readFile(join(into, 'secret.txt'), 'utf8')).toBe('kept')
  expect(await readFile(join(into, 'version.txt'), 'utf8')).toBe('$Format:%H$')
  await rm(into, { recursive: true })
})

test('a shallow clone of the app pushes; a shallow clone of somewhere else is told how', async () => {
  await using repo = await makeRepo(gateway.url('shallow'))
  await repo.commit({ a: '1' })
  await repo.commit({ a: '2' })
  await repo.push('main')
  await runGit(repo.path, ['clone', '-q', '--depth', '1', gateway.url('shallow'), 'copy'])
  await runGit(`${repo.path}/copy`, ['commit', '-q', '--allow-empty', '-m', 'more'])
  expect(await runGit(`${repo.path}/copy`, ['push', 'origin', 'main'])).toMatchObject({ code: 0 })

  const elsewhere = await runGit(repo.path, ['clone', '-q', '--depth', '1', `file://${repo.path}`, 'other'])
  expect(elsewhere).toMatchObject({ code: 0 })
  const pushed = await runGit(`${repo.path}/other`, ['push', gateway.url('never-seen'), 'main'])
  expect(pushed.code).toBe(1)
  expect(pushed.stderr).toMatch(/remote rejected.*this clone is shallow.*git fetch --unshallow\)/)
  expect(await findApp(database.sql, 'never-seen')).toBeNull()
})

test('a branch and a branch below it cannot both be kept, and the push says so before it builds', async () => {
  await using repo = await makeRepo(gateway.url('nested'))
  await repo.commit({ a: '1' })
  await repo.push('main', 'main:feature')
  const pushed = await repo.push('main:feature/one')
  expect(pushed).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('(git cannot hold this branch beside feature; delete one or name it otherwise)'),
  })
})

test('G8: names that a shell would read are refused by name, and leave nothing', async () => {
  await using repo = await makeRepo(gateway.url('named'))
  await repo.commit({ a: '1' })
  for (const name of [
    'a$(touch\tcanary)',
    'a$(id)',
    'a`id`',
    'a;id',
    'a|id',
    'a&id',
    "a'id'",
    'a"id"',
    '-oProxyCommand=x',
    '--upload-pack=x',
    '\u202eniam',
    'a/-b',
    'a/.b',
    'é',
  ]) {
    const pushed = await repo.push(`main:refs/heads/${name}`)
    expect(pushed.code, name).not.toBe(0)
    expect(pushed.stderr, name).toMatch(/branch names hold letters, digits and|invalid refspec|not a full refname/)
  }
  expect(await findApp(database.sql, 'named')).toBeNull()
  expect(await repo.push('main:refs/heads/a.b_c-d/1')).toMatchObject({ code: 0 })
})

test('G8: a commit message is data: its first line is kept as plain text, and it may be as long as it likes', async () => {
  await using repo = await makeRepo(gateway.url('messages'))
  const canary = join(repo.path, 'canary')
  const hostile = `"; touch ${canary}; # $(touch ${canary}) \`touch ${canary}\``
  const messages = [
    Buffer.from(`${hostile} \x1b[31mred\x1b[0m \x1b]0;title\x07`),
    Buffer.from('é'.repeat(500_000)),
    noise(),
  ]
  for (const message of messages) {
    await writeFile(join(repo.path, 'message'), message)
    await repo.git('commit', '-q', '--allow-empty', '--cleanup=verbatim', '-F', 'message')
    expect(await repo.push('main')).toMatchObject({ code: 0 })
  }
  const [binary, long, named] = (await gateway.deployments('messages')).map(({ subject }) => subject)
  expect(named).toBe(`${hostile} red`.slice(0, 200))
  expect(long).toMatch(/^é{190,200}/)
  expect(binary).not.toMatch(/[\x00-\x1f\x7f-\x9f]/)
  await expect(access(canary)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('an app of the name of one that was deleted starts without its history', async () => {
  await using repo = await makeRepo(gateway.url('reborn'))
  await repo.commit({ secret: '1' })
  await repo.push('main')
  await deleteApp(database.sql, 'reborn')
  await using heir = await makeRepo(gateway.url('reborn'))
  const sha = await heir.commit({ a: '1' })
  expect(await heir.push('main')).toMatchObject({ code: 0 })
  expect(await gateway.refs('reborn')).toEqual({ 'refs/heads/main': sha })
  const old = (await repo.git('rev-parse', 'HEAD')).stdout.trim()
  expect(await heir.git('fetch', 'atelier', old)).toMatchObject({ code: 128 })
})

/** Every byte but NUL, in any order. */
function noise(): Buffer {
  return Buffer.from(randomBytes(10_000).filter((byte) => byte > 0))
}

async function labels(app: string): Promise<string[]> {
  const routes = await readRoutes(database.sql)
  return routes.filter(({ appId }) => appId === app).map(({ label }) => label)
}
