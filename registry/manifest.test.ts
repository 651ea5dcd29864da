import { expect, test } from 'vitest'
import { manifest } from './manifest.ts'

const valid = {
  ...{ app_id: 'a', version: '1.0.0', build: 'b', framework: 'f', kind: 'static', built_at: '2026-01-01T00:00:00Z' },
  ...{ built_by: 'x', bundle_size: 0, transforms_applied: [], build_duration_ms: 0, git_sha: null, git_branch: null },
  ...{ routes: { pages: [], api: [], static: [] }, env_names: [], public_env_hash: '', node_version: 'v26' },
  ...{ lockfile_sha256: null, files: [], server: null, spa_fallback: false },
  ...{ health: { path: '/', timeout_sec: 1, strict: false }, drain_timeout_sec: 1 },
}

test('I7: a manifest cannot reach prototypes', () => {
  const text = JSON.stringify(valid)
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
  expect(manifest.parse({ ...valid, files }).files.map(({ path }) => path)).toEqual(files.map(({ path }) => path))
})
