import { expect, test } from 'vitest'
import { describeNodeDifference, describeNodeOf, satisfies } from './node-version.ts'
import { readPackageJson } from './package-json.ts'
import { treeOf } from './source-tree.ts'

test.each<[string, boolean | null]>([
  ['>=18', true],
  ['>= 18.0.0', true],
  ['^20', false],
  ['^26.1', true],
  ['~26.10.0', true],
  ['~26.9', false],
  ['20.x', false],
  ['26.x', true],
  ['26', true],
  ['*', true],
  ['18 || 20 || >=22', true],
  ['>=18 <23', false],
  ['18 - 26', true],
  ['18 - 22', false],
  ['<=26', true],
  ['>26', false],
  ['>26.9', true],
  ['^20.19.0 || >=22.12.0', true],
  ['lts/*', null],
])('26.10.0 in %s: %s', (range, expected) => {
  expect(satisfies('26.10.0', range)).toBe(expected)
})

test.each<[Record<string, string>, string | null]>([
  [
    { 'package.json': '{"engines":{"node":"20.x"}}' },
    'warning: engines asks for Node 20.x; Atelier runs Node 26.10.0, and tries it with that',
  ],
  [
    { 'package.json': '{"engines":{"node":">=20"}}', '.nvmrc': 'v20.11.0\n' },
    'warning: .nvmrc asks for Node v20.11.0; Atelier runs Node 26.10.0, and tries it with that',
  ],
  [{ '.nvmrc': '26\n' }, null],
  [
    { '.node-version': 'lts/Iron\n' },
    'warning: .node-version asks for Node lts/Iron; Atelier runs Node 26.10.0, and tries it with that',
  ],
  [{ '.nvmrc': 'lts/*' }, null],
  [{ '.nvmrc': 'node' }, null],
  [{}, null],
])('%o', (files, expected) => {
  const tree = treeOf(files)
  expect(describeNodeDifference(tree, readPackageJson(tree), '26.10.0')).toBe(expected)
})

test('an app that insists on another Node is refused, and one that insists on this is not', () => {
  const strict = (range: string) =>
    treeOf({ 'package.json': `{"engines":{"node":"${range}"}}`, '.npmrc': 'engine-strict=true\n' })
  const describe = (tree: ReturnType<typeof treeOf>) => describeNodeDifference(tree, readPackageJson(tree), '26.10.0')
  expect(() => describe(strict('^20'))).toThrow(/asks for Node \^20, engine-strict in \.npmrc insists on it/)
  expect(describe(strict('>=20'))).toBeNull()
})

test('an app in a folder of a repository may say it there or at the top', () => {
  const top = { '.nvmrc': '20', 'apps/web/package.json': '{}' }
  expect(describeNodeOf(treeOf(top), 'apps/web', '26.10.0')).toContain('.nvmrc asks for Node 20')
  const inside = { ...top, 'apps/web/package.json': '{"engines":{"node":"22.x"}}' }
  expect(describeNodeOf(treeOf(inside), 'apps/web', '26.10.0')).toContain('engines asks for Node 22.x')
})
