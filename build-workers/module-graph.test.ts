import { expect, test } from 'vitest'
import { leftOut, reachablePackages, type Wanted } from './module-graph.ts'
import type { ModuleIndex } from './module-tree.ts'

type Installed = { packages: Record<string, string[]>; links?: [string, string][] }

/** What is left of these packages, and of the links to them. */
function kept({ packages, links = [] }: Installed, wanted: Partial<Wanted>): string[] {
  const paths = Object.keys(packages)
  const above = paths.flatMap((path) => path.split('/').map((_, at, all) => all.slice(0, at + 1).join('/')))
  const index: ModuleIndex = { roots: ['node_modules'], directories: [...new Set(above)].sort(), files: [], links }
  const all = { folders: new Map(), unused: [], mentioned: new Set<string>(), ...wanted }
  const reached = reachablePackages(all, { index, readPackage: (folder) => packages[folder] ?? [] })
  const skip = leftOut(reached, all, index)
  const isSkipped = (path: string) => path.split('/').some((_, at, names) => skip(names.slice(0, at + 1).join('/')))
  return [...paths, ...links.map(([path]) => path)].filter((path) => !isSkipped(path))
}

const folders = new Map([['apps/web', ['a', '@acme/lib', 'not-installed']]])

test('of a flat tree the packages that the app reaches are kept, with what lies in them', () => {
  const packages = {
    'node_modules/a': ['b', '@s/c'],
    'node_modules/a/node_modules/b': ['d'],
    'node_modules/a/node_modules/bundled': [],
    'node_modules/b': [],
    'node_modules/d': ['a'],
    'node_modules/@s/c': [],
    'node_modules/@s/other': [],
    'node_modules/unused': [],
    'apps/web/node_modules/a': ['e'],
    'node_modules/e': [],
    'node_modules/.prisma': [],
  }
  const web = kept({ packages }, { folders })
  expect(web).toEqual(['apps/web/node_modules/a', 'node_modules/e', 'node_modules/.prisma'])
  const top = kept({ packages }, { folders: new Map([['', ['a']]]) })
  expect(top).toEqual([
    ...['node_modules/a', 'node_modules/a/node_modules/b', 'node_modules/a/node_modules/bundled', 'node_modules/d'],
    ...['node_modules/@s/c', 'node_modules/.prisma'],
  ])
})

test('packages of the workspace that are not used take their links with them, and their programs', () => {
  const packages = { 'node_modules/a': [], 'node_modules/b': [] }
  const links: [string, string][] = [
    ['node_modules/@acme/lib', '../../packages/lib'],
    ['node_modules/other', '../packages/other'],
    ['node_modules/.bin/a', '../a/cli.js'],
    ['node_modules/.bin/b', '../b/cli.js'],
  ]
  expect(kept({ packages, links }, { folders, unused: ['packages/other'] })).toEqual([
    ...['node_modules/a', 'node_modules/@acme/lib', 'node_modules/.bin/a'],
  ])
})

test('in a store of links each package is found through the link that asks for it', () => {
  const store = 'node_modules/.pnpm'
  const packages = {
    [`${store}/a@1/node_modules/a`]: ['b'],
    [`${store}/b@2/node_modules/b`]: [],
    [`${store}/c@3/node_modules/c`]: [],
  }
  const links: [string, string][] = [
    ['apps/web/node_modules/a', '../../../node_modules/.pnpm/a@1/node_modules/a'],
    [`${store}/a@1/node_modules/b`, '../../b@2/node_modules/b'],
    [`${store}/node_modules/b`, '../b@2/node_modules/b'],
    [`${store}/node_modules/c`, '../c@3/node_modules/c'],
    ['apps/api/node_modules/c', '../../../node_modules/.pnpm/c@3/node_modules/c'],
  ]
  expect(kept({ packages, links }, { folders })).toEqual([
    ...[`${store}/a@1/node_modules/a`, `${store}/b@2/node_modules/b`],
    ...['apps/web/node_modules/a', `${store}/a@1/node_modules/b`, `${store}/node_modules/b`],
  ])
})

test('what the code names without asking for it is kept where it is found', () => {
  const packages = { 'node_modules/pino': [], 'node_modules/pino-pretty': ['colors'], 'node_modules/colors': [] }
  const wanted = { folders: new Map([['apps/web', ['pino']]]), mentioned: new Set(['pino-pretty', 'no-package']) }
  expect(kept({ packages }, wanted)).toEqual(Object.keys(packages))
})
