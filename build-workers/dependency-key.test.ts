import { expect, test } from 'vitest'
import { decidingFiles, dependencyKey, scriptedMembers } from './dependency-key.ts'
import { emptyPackageJson } from './package-json.ts'
import { choosePackageManager } from './package-manager.ts'
import { treeOf } from './source-tree.ts'

const files = {
  'package.json': '{"workspaces":["packages/*"]}',
  'package-lock.json': '{"lockfileVersion":3}',
  'prisma/schema.prisma': 'model A {}',
  'packages/db/package.json': '{"name":"db","scripts":{"postinstall":"node generate.mjs"}}',
  'packages/db/generate.mjs': 'one',
  'packages/lib/package.json': '{"name":"lib","scripts":{"build":"tsc"}}',
  'packages/lib/index.js': 'one',
}

function keyOf(changed: Record<string, string> = {}): string {
  const tree = treeOf({ ...files, ...changed })
  const manager = choosePackageManager(tree, emptyPackageJson())
  const parts = { manager, version: '1', flavour: 'full' as const, nodeVersion: 'v26', today: '2026-01-01' }
  return dependencyKey(decidingFiles(tree, manager), parts)
}

test('what scripts read that run with an install decides what is installed, and what a package is built from does not', () => {
  const isNew = (path: string, text: string) => keyOf({ [path]: text }) !== keyOf()
  expect(isNew('prisma/schema.prisma', 'model B {}')).toBe(true)
  expect(isNew('packages/db/generate.mjs', 'two')).toBe(true)
  expect(isNew('packages/db/schema.txt', 'new')).toBe(true)
  expect(isNew('package-lock.json', '{"lockfileVersion":2}')).toBe(true)
  expect(isNew('packages/lib/index.js', 'two')).toBe(false)
  expect(isNew('packages/lib/package.json', '{"name":"lib","scripts":{"build":"tsc -b"}}')).toBe(false)
  expect(scriptedMembers(treeOf({ ...files, 'packages/odd/package.json': '{"scripts":' }))).toEqual(['packages/db'])
})
