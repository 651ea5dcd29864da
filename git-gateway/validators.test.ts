import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSlug } from '../registry/apps.ts'
import { parseVersion } from '../registry/version.ts'
import { Git } from './git.ts'
import { readAddress } from './guard.ts'
import { judgePush, readPushOptions } from './push-policy.ts'
import { parseUpdate } from './ref-update.ts'
import { makeRepo } from './test-repo.ts'

// simple-git is not part of Atelier: git is started directly, with a list of arguments. What stands between a person's words and that list
// is this row's subject: every operand is read by one of these, and none of them lets an option, an address or a setting through.

const attacks = [
  'ext::sh -c touch% canary',
  'EXT::sh -c touch% canary',
  '--upload-pack=touch canary',
  '-u touch canary',
  '-c core.sshCommand=touch canary',
  '--config=protocol.ALLOW=always',
  'file:///etc/passwd',
  '$(touch canary)',
  'a\n--exec=touch canary',
]
const limits = { packMb: 1, checkoutMb: 1, files: 1, refs: 9, idleTimeoutMs: 1, unpackTimeoutMs: 1 }
const sha = '1'.repeat(40)

let scratch: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'validators-'))
})
afterAll(() => rm(scratch, { recursive: true }))

test.each(attacks)('G14: %j is no app, address, version, commit, branch or option', (text) => {
  expect(() => parseSlug(text)).toThrow(expect.objectContaining({ code: 'APP_NAME_ILLEGAL' }))
  expect(() => readAddress(`/${text}.git/git-upload-pack`)).toThrow()
  expect(() => parseVersion(text)).toThrow(expect.objectContaining({ code: 'VERSION_ILLEGAL' }))
  expect(() => parseUpdate(`${sha} ${text} refs/heads/main`)).toThrow()
  expect(() => parseUpdate(`${text} ${sha} refs/heads/main`)).toThrow()
  for (const ref of [text, `refs/heads/${text}`, `refs/tags/${text}`, `refs/heads/a/${text}`]) {
    expect(judgePush([{ old: sha, new: sha, ref }], [], limits)).toMatchObject([{ ok: false }])
  }
  expect(judgePush([{ old: sha, new: sha, ref: 'refs/heads/main' }], [text], limits)).toMatchObject([{ ok: false }])
  expect(readPushOptions([text])).toEqual({ deployment: {}, door: 'by hand', until: 'traffic' })
})

test('G14: git itself would reach no address, were one to get so far', async () => {
  await using repo = await makeRepo('unused')
  await repo.commit({ a: '1' })
  const git = new Git({ maxPackBytes: 1_048_576 })
  const canary = join(scratch, 'canary')
  for (const address of [
    `ext::touch ${canary}`,
    `EXT::touch ${canary}`,
    repo.path,
    `file://${repo.path}`,
    'https://127.0.0.1:1/x',
    'ssh://127.0.0.1/x',
  ]) {
    const { code, stderr } = await git.run(join(repo.path, '.git'), ['ls-remote', '--', address])
    expect(code).not.toBe(0)
    expect(stderr).toMatch(/transport '\w+' not allowed|is not a git command/)
  }
  expect(await readdir(scratch)).toEqual([])
  // The same with a person's settings: it is the gateway's that forbid.
  expect((await repo.git('ls-remote', '--', repo.path)).stdout).toContain('refs/heads/main')
})
