import { expect, test } from 'vitest'
import { describeNodeDifference, satisfies } from './node-version.ts'
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
  [{ 'package.json': '{"engines":{"node":"20.x"}}' }, 'engines asks for Node 20.x; Atelier runs Node 26.10.0'],
  [
    { 'package.json': '{"engines":{"node":">=20"}}', '.nvmrc': 'v20.11.0\n' },
    '.nvmrc asks for Node v20.11.0; Atelier runs Node 26.10.0',
  ],
  [{ '.nvmrc': '26\n' }, null],
  [{ '.nvmrc': 'lts/iron' }, null],
  [{}, null],
])('%o', (files, expected) => {
  const tree = treeOf(files)
  expect(describeNodeDifference(tree, readPackageJson(tree), '26.10.0')).toBe(expected)
})
