import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { giveTo, leaseUser, type SandboxUser } from './users.ts'

const isRoot = process.getuid?.() === 0
const nobodyElse = { uid: null, gid: null }

async function temporaryHome() {
  const home = await mkdtemp(join(tmpdir(), 'atl-'))
  return { home, [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }) }
}

test('an app keeps one user for its builds and another for itself', async () => {
  await using config = await temporaryHome()
  const build = await leaseUser(config, { purpose: 'build', app: 'hello' })
  const app = await leaseUser(config, { purpose: 'app', app: 'hello' })
  const other = await leaseUser(config, { purpose: 'app', app: 'world' })
  if (!isRoot) return expect([build, app, other]).toEqual([nobodyElse, nobodyElse, nobodyElse])

  expect(new Set([build.uid, app.uid, other.uid]).size).toBe(3)
  expect(build.gid).toBe(build.uid)
  expect(build.uid).toBeGreaterThan(2_000_000_000)
  expect(build.uid).toBeLessThan(2 ** 31)
  expect(await leaseUser(config, { purpose: 'build', app: 'hello' })).toEqual(build)
  expect((await stat(join(config.home, 'uids.json'))).mode & 0o777).toBe(0o600)
})

test('several processes of several homes lease at once and never share a uid', async () => {
  await using first = await temporaryHome()
  await using second = await temporaryHome()
  const leases = await Promise.all(
    [first, second].flatMap(({ home }) =>
      Array.from({ length: 4 }, (_, index) => leaseElsewhere(home, `app-${index % 2}`)),
    ),
  )
  if (!isRoot) return expect(leases.every(({ uid }) => uid === null)).toBe(true)
  // Two homes, two apps each, every one asked for by two processes.
  expect(new Set(leases.map(({ uid }) => uid)).size).toBe(4)
})

test('a home that was copied is told so', async () => {
  await using first = await temporaryHome()
  await using copy = await temporaryHome()
  const user = await leaseUser(first, { purpose: 'app', app: 'hello' })
  if (!isRoot) return expect(user).toEqual(nobodyElse)
  await writeFile(join(copy.home, 'uids.json'), await readFile(join(first.home, 'uids.json')))
  const leased = leaseUser(copy, { purpose: 'app', app: 'world' })
  await expect(leased).rejects.toMatchObject({ code: 'HOME_UNUSABLE', message: expect.stringContaining(first.home) })
})

test('giving a folder away follows no symlink', async () => {
  await using config = await temporaryHome()
  await using elsewhere = await temporaryHome()
  const user = await leaseUser(config, { purpose: 'build', app: 'hello' })
  await writeFile(join(elsewhere.home, 'secret'), '')
  await writeFile(join(config.home, 'own'), '')
  await symlink(elsewhere.home, join(config.home, 'folder'))
  await symlink(join(elsewhere.home, 'secret'), join(config.home, 'file'))
  await giveTo(config.home, user)
  await giveTo(join(config.home, 'folder'), user)
  const owner = user.uid ?? process.getuid?.()
  expect((await stat(join(config.home, 'own'))).uid).toBe(owner)
  expect((await stat(elsewhere.home)).uid).toBe(process.getuid?.())
  expect((await stat(join(elsewhere.home, 'secret'))).uid).toBe(process.getuid?.())
})

async function leaseElsewhere(home: string, app: string): Promise<SandboxUser> {
  const source = `
    const { leaseUser } = await import(${JSON.stringify(join(import.meta.dirname, 'users.ts'))})
    console.log(JSON.stringify(await leaseUser({ home: ${JSON.stringify(home)} }, { purpose: 'app', app: '${app}' })))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', source])
  return JSON.parse(stdout)
}
