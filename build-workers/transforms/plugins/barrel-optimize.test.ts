import { expect, test } from 'vitest'
import { barrelOptimize } from './barrel-optimize.ts'
import { bundleFiles, type TestBundle } from './test-bundle.ts'

const icons = {
  'node_modules/icons/package.json': { name: 'icons', type: 'module', main: 'index.js', sideEffects: false },
  'node_modules/icons/index.js': `
    'use strict'
    /* many of them, export { nothing } from './nowhere.js' */
    import * as all from './all.js'
    import Moon from "./moon.js"
    export { all as icons, Moon, Moon as Luna }; export { default as Sun, default as SunIcon, size } from './sun.js'
    export * from './stars.js'
    export * as helpers from './helpers.js'
    export { default } from './moon.js'
  `,
  'node_modules/icons/all.js': "export { default as Sun } from './sun.js'",
  'node_modules/icons/moon.js': "export default 'moon'",
  'node_modules/icons/sun.js': "export default 'sun'; export const size = 24",
  'node_modules/icons/stars.js': "export * from './star.js'; export * from './comet.js'; export * from './stars.js'",
  'node_modules/icons/star.js': "export const star = 'star'; export default 'no star'",
  'node_modules/icons/comet.js': "export function comet() { return 'comet' }",
  'node_modules/icons/helpers.js': 'export const help = "help"',
}
const on = barrelOptimize({ packages: ['icons'], listed: [] })

/** What is read of the package, and what the bundle's default export is; the same is true without the plugin. */
async function readOf(
  source: string,
  { entry = 'index.js', more = {} }: { entry?: string; more?: Record<string, string | object> } = {},
) {
  const files = { ...icons, ...more, [entry]: source }
  const [with_, without] = [await bundleFiles(files, on, { entry }), await bundleFiles(files, null, { entry })]
  expect(with_.errors).toEqual([])
  expect(await defaultOf(with_)).toEqual(await defaultOf(without))
  return {
    read: with_.inputs.filter((path) => path.startsWith('node_modules/icons/')).map((path) => path.slice(19)),
    value: await defaultOf(with_),
    with_,
  }
}

async function defaultOf({ text }: TestBundle): Promise<unknown> {
  const module: { default: unknown } = await import(`data:text/javascript,${encodeURIComponent(text)}`)
  return module.default
}

test.each<[string, string, unknown, string[]]>([
  ['a name', 'import { Sun } from "icons"; export default Sun', 'sun', ['sun.js']],
  ['a name under another', 'import { SunIcon as S } from "icons"; export default S', 'sun', ['sun.js']],
  ['a name that was imported first', 'import { Luna } from "icons"; export default Luna', 'moon', ['moon.js']],
  ['the default export', 'import M from "icons"; export default M', 'moon', ['moon.js']],
  [
    'several, over lines',
    'import M, {\n  Sun, // the\n  size,\n} from "icons"; export default [M, Sun, size]',
    ['moon', 'sun', 24],
    ['moon.js', 'sun.js'],
  ],
  ['what export * hands on', 'import { star } from "icons"; export default star', 'star', ['star.js']],
  ['what export * hands on in a cycle', 'import { comet } from "icons"; export default comet()', 'comet', ['comet.js']],
  ['a namespace in it', 'import { helpers } from "icons"; export default helpers.help', 'help', ['helpers.js']],
  ['an export of it', 'export { Sun as default } from "icons"', 'sun', ['sun.js']],
])('of %s only the modules used are read', async (_, source, value, read) => {
  const found = await readOf(source)
  expect(found.value).toEqual(value)
  expect(found.read.sort()).toEqual(read)
})

test.each<[string, string]>([
  ['import *', 'import * as all from "icons"; export default Object.keys(all).length'],
  ['export *', 'export * from "icons"; export default 1'],
  ['import()', 'export default (await import("icons")).Sun'],
  ['a comment where none is looked for', 'import { Sun } from /* here */ "icons"; export default Sun'],
])('%s takes all of it, as ever', async (_, source) => {
  expect((await readOf(source)).read).toContain('index.js')
})

test('names that are types alone are left out in TypeScript, and a type of no name at run time does no harm', async () => {
  const source = `
    import { type Props, Sun, SunProps } from 'icons'
    import type { Other } from 'icons'
    export default Sun satisfies Other as SunProps as Props`
  expect((await readOf(source, { entry: 'index.ts' })).read).toEqual(['sun.js'])
})

test.each<[string, string, Record<string, string | object>?]>([
  ['declared beside others', 'export const other = 1, Mars = "mars"'],
  ['taken out of an object', 'export const { Mars } = { Mars: "mars" }'],
  ['another module hands on to one with code', 'export const other = 1; export * from "./mars.js"'],
  [
    'another package has',
    'export * from "mars"',
    { 'node_modules/mars/package.json': { type: 'module', main: '../icons/mars.js' } },
  ],
])('a name that is %s is no type, also in TypeScript', async (_, star, files = {}) => {
  const more = {
    ...files,
    'node_modules/icons/mars.js': 'export const Mars = "mars"',
    'node_modules/icons/index.js': 'export * from "./star.js"',
    'node_modules/icons/star.js': star,
  }
  const found = await readOf('import { Mars } from "icons"; export default Mars', { entry: 'index.ts', more })
  expect(found.value).toBe('mars')
})

test('modules are the same ones for everybody who imports them', async () => {
  const more = {
    'other.js': 'import { Sun, state } from "icons/state.js"; export const other = state',
    'node_modules/icons/state.js': 'export const state = { n: 1 }; export const Sun = 1',
  }
  const found = await readOf(
    'import { state } from "icons/state.js"; import { other } from "./other.js"; import { Sun } from "icons"; export default [state === other, Sun]',
    { more },
  )
  expect(found.value).toEqual([true, 'sun'])
})

test('a name that is not there is told as ever', async () => {
  const source = '\nimport { Mars } from "icons"; export default Mars'
  const files = { ...icons, 'index.js': source }
  const [with_, without] = [await bundleFiles(files, on), await bundleFiles(files, null)]
  expect(with_.errors).toEqual(without.errors)
  expect(with_.errors[0]).toContain('No matching export in "node_modules/icons/index.js" for import "Mars"')
  const typed = await bundleFiles({ ...icons, 'index.ts': source }, on, { entry: 'index.ts' })
  expect(typed.errors[0]).toContain('for import "Mars"')
})

test('a package that may have side effects is left alone, unless the config lists it', async () => {
  const files = {
    ...icons,
    'node_modules/icons/package.json': { name: 'icons', type: 'module', main: 'index.js' },
    'index.js': 'import { Sun } from "icons"; export default Sun',
  }
  expect((await bundleFiles(files, on)).inputs).toContain('node_modules/icons/index.js')
  const listed = await bundleFiles(files, barrelOptimize({ packages: [], listed: ['icons'] }))
  expect(listed.inputs).not.toContain('node_modules/icons/index.js')
})

test.each([
  ['CommonJS', 'exports.Sun = require("./sun.cjs")'],
  ['an index with code of its own', 'export { default as Sun } from "./sun.js"; globalThis.seen = true'],
  ['an index with a style', 'import "./icons.css"; const a = 1; export { default as Sun } from "./sun.js"'],
])('%s is left alone', async (_, index) => {
  const files = {
    ...icons,
    'node_modules/icons/package.json': { name: 'icons', main: 'index.js', sideEffects: false },
    'node_modules/icons/index.js': index,
    'node_modules/icons/sun.cjs': 'module.exports = "sun"',
    'node_modules/icons/icons.css': '',
    'index.js': 'import { Sun } from "icons"; export default Sun',
  }
  const { inputs, errors } = await bundleFiles(files, on)
  expect(errors).toEqual([])
  expect(inputs).toContain('node_modules/icons/index.js')
})

test('the source map is that of the app’s own text', async () => {
  const files = {
    ...icons,
    'index.js': 'import { Sun } from "icons"\n\nexport default () => {\n  throw new Error(Sun)\n}',
  }
  const [with_, without] = [await bundleFiles(files, on), await bundleFiles(files, null)]
  expect(with_.sources).toEqual(without.sources)
  expect(with_.mappings).toBe(without.mappings)
})
