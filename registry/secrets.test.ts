import { randomBytes } from 'node:crypto'
import { mkdtemp, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadKey, open, seal } from './secrets.ts'

const key = randomBytes(32)

test('what is sealed opens with the same key in the same place only', () => {
  const sealed = seal(key, 'env:hello/production/A', 'hunter2 ✓')
  expect(open(key, 'env:hello/production/A', sealed)).toBe('hunter2 ✓')
  expect(sealed.includes('hunter2')).toBe(false)
  expect(() => open(key, 'env:other/production/A', sealed)).toThrow('does not open')
  expect(() => open(randomBytes(32), 'env:hello/production/A', sealed)).toThrow('does not open')
  sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1
  expect(() => open(key, 'env:hello/production/A', sealed)).toThrow('does not open')
})

test('twenty processes that ask for a key at once get the same one, in a 0600 file', async () => {
  const home = await mkdtemp(join(tmpdir(), 'key-'))
  const keys = await Promise.all(Array.from({ length: 20 }, () => loadKey({ home, key: null })))
  expect(new Set(keys.map((each) => each.current().id.toString('hex'))).size).toBe(1)
  expect((await stat(join(home, 'secrets/key'))).mode & 0o777).toBe(0o600)
})

test('a key of the wrong size is refused by name', async () => {
  await expect(loadKey({ home: '/nowhere', key: 'c2hvcnQ=' })).rejects.toThrow('ATELIER_KEY must be 32 bytes')
})

test('C2: a key that was typed, copied from an example or filled up is refused', async () => {
  for (const weak of [
    Buffer.alloc(32),
    Buffer.alloc(32, 7),
    Buffer.from('example-key-of-thirty-two-bytes!'),
    Buffer.from('0123456789abcdef'.repeat(2)),
    Buffer.from(Array.from({ length: 32 }, (_, index) => index % 15)),
  ])
    await expect(loadKey({ home: '/nowhere', key: weak.toString('base64') })).rejects.toMatchObject({
      code: 'CONFIG_ENV',
      message: expect.stringContaining('openssl rand -base64 32'),
    })
  const good = Array.from({ length: 200 }, () => randomBytes(32).toString('base64'))
  for (const each of good) expect((await loadKey({ home: '/nowhere', key: each })).current().bytes.length).toBe(32)
})

test('C2: two fresh homes have keys of their own', async () => {
  const homes = await Promise.all([1, 2].map(() => mkdtemp(join(tmpdir(), 'key-'))))
  const [one, two] = await Promise.all(homes.map((home) => loadKey({ home, key: null })))
  expect(one?.current().bytes).not.toEqual(two?.current().bytes)
})
