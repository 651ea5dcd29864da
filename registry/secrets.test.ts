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
  expect(new Set(keys.map((each) => each.toString('hex'))).size).toBe(1)
  expect((await stat(join(home, 'secrets/key'))).mode & 0o777).toBe(0o600)
})

test('a key of the wrong size is refused by name', async () => {
  await expect(loadKey({ home: '/nowhere', key: 'c2hvcnQ=' })).rejects.toThrow('ATELIER_KEY must be 32 bytes')
})
