import { expect, test } from 'vitest'
import { treeOf } from './source-tree.ts'
import { namesVersion } from './told-version.ts'

const pkg = { 'package.json': '{}' }

test.each([
  ['process.env.ATELIER_VERSION', true],
  ['RELEASE=$ATELIER_DEPLOYMENT vite build', true],
  ["envPrefix: ['VITE_', 'ATELIER_']", true],
  ['process.env["ATELIER_" + name]', true],
  ['process.env.ATELIER_APPS', true],
  ['process.env.ATELIER_APP ?? process.env.ATELIER_ENVIRONMENT', false],
  ['git checkout $ATELIER_BRANCH;', false],
  ['export const atelier = 1', false],
])('%s in a file of the app: %s', (text, isNamed) => {
  expect(namesVersion(treeOf({ ...pkg, 'scripts/build.mjs': text }))).toBe(isNamed)
})

test('what stands in folders that the app has nothing to do with is no matter', () => {
  const tree = treeOf({ ...pkg, 'apps/other/index.js': 'process.env.ATELIER_VERSION', 'apps/web/index.js': '' })
  expect([namesVersion(tree), namesVersion(tree, ['apps/other']), namesVersion(tree, ['apps/web'])]).toEqual([
    ...[true, false, true],
  ])
})

test('where nothing of the app runs, and in pictures and installed packages, the name is no matter', () => {
  const text = 'ATELIER_VERSION'
  expect(namesVersion(treeOf({ 'about.html': text }))).toBe(false)
  expect(namesVersion(treeOf({ ...pkg, 'logo.png': text, 'node_modules/a/index.js': text }))).toBe(false)
  expect(namesVersion(treeOf({ 'atelier.config.ts': text }))).toBe(true)
})
