import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Platform, type PlatformOptions } from './support/platform.ts'

const isRoot = process.getuid?.() === 0

/** Starts it where it must refuse; resolves to what it said, with the proof that nothing runs. */
async function refusal(platform: Platform) {
  platform.launch()
  const exit = await platform.exit()
  await platform.expectNothingLeft()
  expect(exit.stdout).toBe('')
  return { code: exit.code, said: exit.stderr }
}

async function prepare(options?: PlatformOptions) {
  return Platform.prepare(options)
}

test('a busy port is named with the way out, and nothing is started', async () => {
  const holder = createServer().listen(0)
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  await using platform = await prepare({ port })

  expect(await refusal(platform)).toEqual({
    code: 1,
    said: `atelier: port ${port} is taken by another program; stop it, or choose one with ATELIER_HTTP_PORT\n`,
  })
  expect(existsSync(join(platform.home, 'postgres'))).toBe(false)
  expect(existsSync(join(platform.home, 'atelier.json'))).toBe(false)
  holder.close()
})

test('a home in use names the process that uses it, which goes on', async () => {
  await using first = await prepare()
  await first.start()
  const { pid } = await first.addresses()
  await using second = await prepare({ home: first.home })

  second.launch()
  const { code, stderr } = await second.exit()
  expect(code).toBe(1)
  expect(stderr).toBe(
    `atelier: another Atelier (process ${pid}) uses the home ${first.home}; stop it, or give this one a home of its own with ATELIER_HOME\n`,
  )
  expect(await first.pidOf('proxy')).not.toBeNull()
  expect(first.stderr).not.toContain('ended')
  await first.stop()
})

test('a home that cannot be made says why', async () => {
  await using platform = await prepare()
  const file = join(platform.scratch, 'file')
  await writeFile(file, '')
  await using blocked = await prepare({ home: join(file, 'home') })
  const { code, said } = await refusal(blocked)
  expect(code).toBe(1)
  expect(said).toMatch(
    /^atelier: the home .*file\/home cannot be used: a file stands in its way; choose another directory with ATELIER_HOME\n$/,
  )
})

test.runIf(isRoot)('a home that belongs to someone else says how to mend it', async () => {
  const nobody = { uid: 65_534, gid: 65_534 }
  await using owner = await prepare()
  const home = join(owner.scratch, 'foreign')
  await mkdir(home)
  await using platform = await prepare({ home, user: nobody })
  const { code, said } = await refusal(platform)
  expect(code).toBe(1)
  expect(said).toContain(`the home ${home} cannot be used: this user may not write there`)
})

test.runIf(isRoot)('as root, a home that other users cannot walk to is refused', async () => {
  await using platform = await prepare()
  const closed = join(platform.scratch, 'closed')
  await mkdir(closed, { mode: 0o700 })
  await using inside = await prepare({ home: join(closed, 'home') })
  const { code, said } = await refusal(inside)
  expect(code).toBe(1)
  expect(said).toContain(`lies below ${closed}, which is closed to other users (mode 700)`)
})

test('a home whose sockets would have too long a path is refused by its length', async () => {
  await using platform = await prepare({ home: `/tmp/${'long/'.repeat(25)}home` })
  const { code, said } = await refusal(platform)
  expect(code).toBe(1)
  expect(said).toMatch(
    /^atelier: the path of the home \/tmp\/long.* is \d+ bytes too long for the unix sockets below it; choose a shorter ATELIER_HOME\n$/,
  )
  expect(existsSync('/tmp/long')).toBe(false)
})

test('a bad setting is named', async () => {
  await using platform = await prepare({ env: { ATELIER_BUILD_CONCURRENCY: 'many', ATELIER_QUEUE_URL: 'http://x' } })
  const { code, said } = await refusal(platform)
  expect(code).toBe(1)
  expect(said).toContain('ATELIER_BUILD_CONCURRENCY: ')
  expect(said).toContain('ATELIER_QUEUE_URL: must start with redis://')
  expect(existsSync(join(platform.home, 'run'))).toBe(false)
})

test('a database elsewhere that does not answer is a sentence without its password', async () => {
  const url = 'postgres://atelier:hush@127.0.0.1:1/atelier'
  await using platform = await prepare({ env: { ATELIER_DATABASE_URL: url } })
  const { code, said } = await refusal(platform)
  expect(code).toBe(3)
  expect(said).toContain('the database that ATELIER_DATABASE_URL names cannot be reached')
  expect(said).not.toContain('hush')
})
