import { expect, test } from 'vitest'
import { emptyManifest } from '../test/support/manifest.ts'
import { manifest } from './manifest.ts'

test('I7: a manifest cannot reach prototypes', () => {
  const text = JSON.stringify(emptyManifest)
  for (const prefix of [
    '{"__proto__":{"admin":true},',
    '{"constructor":{"prototype":{"admin":true}},',
    '{"health":{"__proto__":{"admin":true},"path":"/","timeout_sec":1,"strict":false},"routes":{"__proto__":{"admin":true},"pages":[],"api":[],"static":[]},',
  ]) {
    const read = manifest.parse(JSON.parse(prefix + text.slice(1)))
    for (const thing of [{}, read, read.health, read.routes, read.files])
      expect(Reflect.get(thing, 'admin')).toBeUndefined()
  }
})

test('I7: a file may be named __proto__ or constructor, and is a file', () => {
  const file = (path: string) => ({ path, size: 0, sha256: 'a'.repeat(64), content_type: 't', encodings: [] })
  const files = ['__proto__', 'constructor', 'a/__proto__/b'].map(file)
  expect(manifest.parse({ ...emptyManifest, files }).files.map(({ path }) => path)).toEqual(
    files.map(({ path }) => path),
  )
})
