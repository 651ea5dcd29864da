import { expect, test } from 'vitest'
import { findAppParts } from './app-parts.ts'
import { treeOf } from './source-tree.ts'

const pkg = (name: string, dependencies: Record<string, string> = {}) => JSON.stringify({ name, dependencies })
const repository = {
  'package.json': '{"workspaces":["apps/*","packages/*"]}',
  'pnpm-workspace.yaml': 'packages:\n  - apps/*\n  - packages/*\n',
  'package-lock.json': '{"packages":{"node_modules/@acme/unused":{}}}',
  'README.md': 'see [unused](packages/unused/README.md)',
  '.github/workflows/ci.yml': 'paths: ["packages/unused/**"]',
  'shared/words.js': '',
  'apps/web/package.json': pkg('web', { '@acme/ui': 'workspace:*' }),
  'apps/web/index.js': "import '@acme/ui'\nconst word = 'api'",
  'apps/api/package.json': pkg('api'),
  'packages/ui/package.json': pkg('@acme/ui', { '@acme/theme': '*' }),
  'packages/theme/package.json': pkg('@acme/theme'),
  'packages/unused/package.json': pkg('@acme/unused'),
  'packages/unused/inside/package.json': '{"type":"module"}',
}

const unusedWith = (files: Record<string, string>, include: string[] = []) =>
  findAppParts(treeOf({ ...repository, ...files }), 'apps/web', include).unused

test('packages that nothing the app uses names are not used', () => {
  expect(unusedWith({})).toEqual(['apps/api', 'packages/unused', 'packages/unused/inside'])
})

test.each<[string, Record<string, string>, string[]?]>([
  ['an import that package.json does not list', { 'apps/web/a.ts': "const { x } = await import('@acme/unused/x')" }],
  ['a scoped name anywhere', { 'apps/web/next.config.ts': "transpilePackages: ['@acme/unused']" }],
  ['a dependency of a dependency', { 'packages/theme/package.json': pkg('@acme/theme', { '@acme/unused': '1' }) }],
  ['a dependency of the top', { 'package.json': pkg('top', { '@acme/unused': '*' }) }],
  ['what an install runs', { 'package.json': '{"scripts":{"postinstall":"node packages/unused/patch.js"}}' }],
  ['a path in the code', { 'apps/web/a.ts': "readFileSync('../../packages/unused/data.txt')" }],
  ['a path from the top', { 'atelier.config.ts': "migrations: 'packages/unused/migrations'" }],
  ['a path in a script', { 'apps/web/package.json': '{"scripts":{"build":"cd ../../packages/unused && make"}}' }],
  ['a pattern', { 'apps/web/tailwind.config.js': "content: ['../../packages/**/*.tsx']" }],
  ['a tsconfig', { 'apps/web/tsconfig.json': '{"references":[{"path":"../../packages/unused"}]}' }],
  ['a folder as a dependency', { 'apps/web/package.json': pkg('web', { other: 'file:../../packages/unused' }) }],
  ['a file that lies in no package', { 'shared/words.js': "require('../packages/unused')" }],
  ['build.include', {}, ['packages/unused']],
  ['build.include of all', {}, ['.']],
])('%s counts as use', (_, files, include) => {
  expect(unusedWith(files, include)).not.toContain('packages/unused')
})

test('a symlink counts as use', () => {
  const tree = { ...treeOf(repository), links: (): [string, string][] => [['apps/web/data', '../../packages/unused']] }
  expect(findAppParts(tree, 'apps/web').unused).not.toContain('packages/unused')
})

test('of a repository too large to look through everything counts', () => {
  const many = Object.fromEntries(Array.from({ length: 20_001 }, (_, at) => [`apps/web/${at}.js`, '']))
  expect(unusedWith(many)).toEqual([])
})

test('names that could be those of packages are gathered', () => {
  const tree = treeOf({ ...repository, 'apps/web/log.js': 'pino({ transport: { target: "pino-pretty" } })' })
  expect([...findAppParts(tree, 'apps/web').mentioned]).toEqual(expect.arrayContaining(['pino-pretty', '@acme/ui']))
})
