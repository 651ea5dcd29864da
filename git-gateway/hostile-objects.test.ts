import { randomBytes } from 'node:crypto'
import { access, chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { extract } from 'tar'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { findApp } from '../registry/apps.ts'
import { sourceKey } from '../registry/bundle-store/keys.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { basic, clientOf, pushHead } from './test-client.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { commitOf, type Entry, packed, packOf, shaOf, treeOf } from './test-pack.ts'
import { makeRepo, runGit } from './test-repo.ts'

// Objects that would have somebody's git, or ours, do as they say: rows G9, G10 and G13 of the threat table.

let database: TestDatabase
let gateway: TestGateway
let canary: string
let scratch: string

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database)
  scratch = await mkdtemp(join(tmpdir(), 'hostile-'))
  canary = join(scratch, 'canary')
})
afterEach(async () => {
  await expect(access(canary)).rejects.toMatchObject({ code: 'ENOENT' })
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
  await rm(scratch, { recursive: true })
})

describe('G10 objects that run a program where they are checked out are refused', () => {
  const module = (...lines: string[]) => ['[submodule "sub"]', ...lines.map((line) => `\t${line}`), ''].join('\n')
  const modules: Record<string, string> = {
    'an option for an address': module('path = sub', 'url = -u./x'),
    'an ext:: address': module('path = sub', 'url = ext::sh -c touch% /tmp/c'),
    'another helper’s address': module('path = sub', 'url = fd::17'),
    'a line break in an address': module('path = sub', 'url = "https://x\\nhost=evil/"'),
    'a coded line break in an address': module('path = sub', 'url = https://example.com/%0ahost=evil'),
    'an option for a path': module('path = --upload-pack=x', 'url = https://example.com/x.git'),
    'a carriage return at the end of a path': module('path = "sub\r"', 'url = https://example.com/x.git'),
    'a command for an update': module('path = sub', 'url = https://example.com/x.git', 'update = !touch /tmp/c'),
    'a name that leads out': '[submodule "../../hooks"]\n\tpath = sub\n\turl = https://example.com/x.git\n',
  }
  test.each(Object.entries(modules))('G10: .gitmodules with %s', async (_what, content) => {
    await expectRefused(() => [file('.gitmodules', content), submodule('sub')])
  })

  test('G10: a .gitmodules that is a symbolic link', async () => {
    await expectRefused(() => [{ ...file('.gitmodules', '.git/config'), mode: '120000' }])
  })

  const names = ['.git', '.GIT', '.Git', 'git~1', '.g\u200cit', '.git ', '.git.', '..', '.', '', 'a/b', '.git\\hooks']
  test.each(names)('G10: a tree with %j inside', async (name) => {
    await expectRefused(() => [file(name, 'x')])
    await expectRefused(() => [folder(name, [file('config', `[core]\n\tsshCommand = touch ${canary}\n`)])])
  })

  test('G10: the same is taken without them, and submodules are left alone', async () => {
    const content = module('path = sub', 'url = https://example.com/x.git')
    const entries = [file('.github', 'x'), file('.gitmodules', content), file('a', '1'), submodule('sub')]
    for (const isLarge of [false, true]) {
      const { text, sha, app } = await pushTree(entries, { isLarge })
      expect(text).toContain('ok refs/heads/main')
      const into = await mkdtemp(join(scratch, 'source-'))
      await extract({ file: gateway.store.localPath(sourceKey(app, sha)) ?? '', cwd: into, zstd: true })
      expect(await readdir(join(into, 'sub'))).toEqual([])
      expect(await readFile(join(into, 'a'), 'utf8')).toBe('1')
    }
  })

  test('G10: what is only untidy in old histories is taken', async () => {
    const { text } = await pushTree([file('a', '1')], { person: 'Ada <> 1700000000 +051800' })
    expect(text).toContain('ok refs/heads/main')
    const padded = await pushTree([{ ...folder('lib', [file('a', '1')]), mode: '040000' as '40000' }])
    expect(padded.text).toContain('ok refs/heads/main')
  })

  // As loose objects and as a pack: git has a check for each.
  async function expectRefused(entries: () => Made[]): Promise<void> {
    for (const isLarge of [false, true]) {
      const { text, app } = await pushTree(entries(), { isLarge })
      expect(text).toMatch(/ng refs\/heads\/main (unpacker error|the \.gitmodules of this commit hold)/)
      expect(await findApp(database.sql, app)).toBeNull()
    }
  }
})

describe('G9 nothing stands in for an object', () => {
  test.each([
    'refs/replace/1111111111111111111111111111111111111111',
    'refs/notes/commits',
    'refs/meta/config',
    'refs/pull/1/head',
  ])('G9: %s cannot be pushed', async (ref) => {
    await using repo = await makeRepo(gateway.url('standing-in'))
    await repo.commit({ a: '1' })
    const pushed = await repo.push(`main:${ref}`)
    expect(pushed.code).toBe(1)
    expect(pushed.stderr).toContain('only branches and tags are taken')
    expect(await findApp(database.sql, 'standing-in')).toBeNull()
  })

  test('G9: with a replacement in the repository all the same, the source of a commit is its own tree', async () => {
    await using repo = await makeRepo(gateway.url('replaced'))
    const other = await repo.commit({ a: 'other' })
    const sha = await repo.commit({ a: 'own' })
    await repo.push('main')
    const bare = ['--git-dir', gateway.repository('replaced')]
    await runGit(scratch, [...bare, 'update-ref', `refs/replace/${sha}`, other])
    await gateway.store.remove(sourceKey('replaced', sha))
    expect((await runGit(scratch, [...bare, 'show', `${sha}:a`])).stdout).toBe('other')

    expect(await repo.push('main:again')).toMatchObject({ code: 0 })
    const into = await mkdtemp(join(scratch, 'source-'))
    await extract({ file: gateway.store.localPath(sourceKey('replaced', sha)) ?? '', cwd: into, zstd: true })
    expect(await readFile(join(into, 'a'), 'utf8')).toBe('own')
  })
})

describe('G13 a repository has no say in how git runs', () => {
  const hook = () => `#!/bin/sh\ntouch ${canary}\n`
  const settings = () =>
    [
      '[core]',
      `\thooksPath = hooks\n\tfsmonitor = "touch ${canary}"\n\tsshCommand = "touch ${canary}"\n\talternateRefsCommand = "touch ${canary}"`,
      `[uploadpack]\n\tpackObjectsHook = "${scratch}/hook"`,
      `[filter "x"]\n\tclean = "touch ${canary}"\n\tsmudge = "touch ${canary}"\n\trequired = true`,
      `[tar "tar"]\n\tcommand = "touch ${canary}; cat"`,
      '',
    ].join('\n')

  test('G13: a repository that looks like a bare one, with hooks, a config and links, is files', async () => {
    await using repo = await makeRepo(gateway.url('lookalike'))
    for (const folder of ['hooks', 'objects', 'refs/heads']) await mkdir(join(repo.path, folder), { recursive: true })
    for (const name of ['pre-receive', 'proc-receive', 'post-receive', 'post-update', 'update']) {
      await writeFile(join(repo.path, 'hooks', name), hook(), { mode: 0o755 })
    }
    await symlink('../../../../../../etc/passwd', join(repo.path, 'link'))
    await symlink(scratch, join(repo.path, 'out'))
    await repo.commit({
      config: settings(),
      HEAD: 'ref: refs/heads/main\n',
      'objects/x': '1',
      'refs/heads/x': '1',
      '.gitattributes': '* filter=x\n',
      '.gitconfig': settings(),
    })
    const config = await pushedConfig(repo)
    expect(config).toBe('[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n')
    expect(await readdir(gateway.repository('lookalike'))).not.toContain('hooks')
    expect(await readdir(scratch)).not.toContain('x')
  })

  test('G13: hooks and settings that got into a repository on the disk are not asked', async () => {
    await using repo = await makeRepo(gateway.url('taken-over'))
    await repo.commit({ a: '1' })
    await repo.push('main')
    const path = gateway.repository('taken-over')
    await mkdir(join(path, 'hooks'))
    for (const name of [
      'pre-receive',
      'proc-receive',
      'post-receive',
      'post-update',
      'update',
      'reference-transaction',
    ]) {
      await writeFile(join(path, 'hooks', name), hook(), { mode: 0o755 })
    }
    await writeFile(join(scratch, 'hook'), hook())
    await chmod(join(scratch, 'hook'), 0o755)
    await writeFile(join(path, 'config'), `${await readFile(join(path, 'config'), 'utf8')}${settings()}`)
    await repo.commit({ a: '2' })
    expect(await repo.push('main')).toMatchObject({ code: 0 })
    expect(await repo.push('main:refs/notes/x')).toMatchObject({ code: 1 })
    expect(await repo.git('fetch', 'atelier')).toMatchObject({ code: 0 })
  })

  async function pushedConfig(repo: Awaited<ReturnType<typeof makeRepo>>): Promise<string> {
    expect(await repo.push('main')).toMatchObject({ code: 0 })
    return readFile(join(gateway.repository('lookalike'), 'config'), 'utf8')
  }
})

type Made = Entry & { objects: { type: 'blob' | 'tree'; content: Buffer }[] }

function file(name: string, text: string): Made {
  const content = Buffer.from(text)
  return { mode: '100644', name, sha: shaOf('blob', content), objects: [{ type: 'blob', content }] }
}

function folder(name: string, entries: Made[]): Made {
  const content = treeOf(entries)
  const objects = [...entries.flatMap((entry) => entry.objects), { type: 'tree' as const, content }]
  return { mode: '40000', name, sha: shaOf('tree', content), objects }
}

function submodule(name: string): Made {
  return { mode: '160000', name, sha: '1'.repeat(40), objects: [] }
}

let apps = 0

/** Pushes a commit with these entries, in an order git likes, to an app of its own. */
async function pushTree(
  entries: Made[],
  { isLarge = false, person }: { isLarge?: boolean; person?: string } = {},
): Promise<{ text: string; sha: string; app: string }> {
  const filler = isLarge ? [file('zz-filler', randomBytes(600_000).toString('hex'))] : []
  const root = folder('', [...entries, ...filler])
  const commit = commitOf(root.sha, `change ${apps}`, person)
  const unique = new Map(root.objects.map((object) => [shaOf(object.type, object.content), object]))
  const objects = [...unique.values()].map(({ type, content }) => packed(type, content))
  const sha = shaOf('commit', commit)
  const body = Buffer.concat([pushHead(sha), packOf([...objects, packed('commit', commit)])])
  const app = `objects-${++apps}`
  const headers = { authorization: basic(gateway.secret) }
  const { text } = await clientOf(gateway).send('POST', `/${app}.git/git-receive-pack`, { headers, body })
  return { text, sha, app }
}
