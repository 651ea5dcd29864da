import { expect, test } from 'vitest'
import { readPackageJson } from './package-json.ts'
import { choosePackageManager } from './package-manager.ts'
import { treeOf } from './source-tree.ts'

const berryLock = '# comment\n\n__metadata:\n  version: 8\n'

test.each<[string, Record<string, string>, object, object]>([
  [
    'npm by its lockfile',
    { 'package-lock.json': '{}' },
    {},
    { name: 'npm', lockfile: 'package-lock.json', version: null },
  ],
  ['npm without a lockfile', {}, {}, { name: 'npm', lockfile: null }],
  ['pnpm by its workspace', { 'pnpm-workspace.yaml': '' }, {}, { name: 'pnpm', lockfile: null, version: '10.34.9' }],
  ['npm by a shrinkwrap', { 'npm-shrinkwrap.json': '{}' }, {}, { lockfile: 'npm-shrinkwrap.json' }],
  ['pnpm by its lockfile', { 'pnpm-lock.yaml': "lockfileVersion: '9.0'\n" }, {}, { name: 'pnpm', version: '10.34.9' }],
  [
    'an older pnpm by its lockfile',
    { 'pnpm-lock.yaml': 'lockfileVersion: 5.4\n' },
    {},
    { name: 'pnpm', version: '7.33.7' },
  ],
  [
    'pnpm as declared',
    { 'pnpm-lock.yaml': '' },
    { packageManager: 'pnpm@9.1.0+sha512.ab12' },
    { version: '9.1.0', digest: 'sha512.ab12' },
  ],
  ['classic yarn', { 'yarn.lock': '# yarn lockfile v1\n' }, {}, { name: 'yarn', isBerry: false, version: '1.22.22' }],
  ['yarn 4', { 'yarn.lock': berryLock }, {}, { name: 'yarn', isBerry: true, version: '4.18.1' }],
  ['yarn 3 by its lockfile', { 'yarn.lock': berryLock.replace('8', '6') }, {}, { version: '3.8.6' }],
  [
    'yarn of the app itself',
    {
      'yarn.lock': berryLock,
      '.yarnrc.yml': 'nodeLinker: pnp\nyarnPath: .yarn/releases/yarn-4.1.0.cjs\n',
      '.yarn/releases/yarn-4.1.0.cjs': '',
    },
    { packageManager: 'yarn@4.1.0' },
    { version: null, ownProgram: '.yarn/releases/yarn-4.1.0.cjs' },
  ],
  [
    'several lockfiles',
    { 'yarn.lock': '', 'package-lock.json': '{}' },
    {},
    { name: 'yarn', notes: ['package-lock.json is not used: yarn installs'] },
  ],
  [
    'several lockfiles, one declared',
    { 'yarn.lock': '', 'package-lock.json': '{}' },
    { packageManager: 'npm@11.0.0' },
    { name: 'npm', notes: ['yarn.lock is not used: npm installs'] },
  ],
  [
    'bun',
    { 'bun.lock': '' },
    {},
    { name: 'bun', lockfile: 'bun.lock', version: '1.4.5', notes: ['bun installs; the app runs on Node'] },
  ],
  ['bun by its older lockfile', { 'bun.lockb': '' }, { packageManager: 'bun@1.2.3' }, { version: '1.2.3' }],
  [
    'a lockfile of bun beside one of npm',
    { 'bun.lockb': '', 'package-lock.json': '{}' },
    {},
    { name: 'npm', notes: ['bun.lockb is not used: npm installs'] },
  ],
  [
    'npm as declared',
    { 'package-lock.json': '{}' },
    { packageManager: 'npm@10.9.2+sha512.ab' },
    { name: 'npm', version: '10.9.2', digest: 'sha512.ab' },
  ],
  [
    'pnpm as engines demands',
    { 'pnpm-lock.yaml': "lockfileVersion: '9.0'\n" },
    { engines: { pnpm: '^9' } },
    { version: '9.15.9' },
  ],
  [
    'a packageManager nobody can read',
    {},
    { packageManager: 'pnpm' },
    { name: 'npm', notes: ['packageManager "pnpm" is not read: it must be <name>@<version>'] },
  ],
])('%s', (_, files, pkg, expected) => {
  const tree = treeOf({ ...files, 'package.json': JSON.stringify(pkg) })
  const read = readPackageJson(tree)
  expect(read && choosePackageManager(tree, read)).toMatchObject(expected)
})

test('a pnpm that engines demands and nobody here knows is refused with what to do', () => {
  const tree = treeOf({ 'package.json': '{"engines":{"pnpm":"^5.1"}}', 'pnpm-lock.yaml': '' })
  const pkg = readPackageJson(tree)
  expect(() => pkg && choosePackageManager(tree, pkg)).toThrow(
    /engines in package\.json asks for pnpm \^5\.1; name the version there exactly/,
  )
})
