import { expect, test } from 'vitest'
import { importStrip, type StripSettings } from './import-strip.ts'
import { bundleFiles } from './test-bundle.ts'

const packages = {
  'node_modules/server-only/package.json': { name: 'server-only', main: 'index.js' },
  'node_modules/server-only/index.js': 'throw new Error("of a client")',
  'node_modules/pg/package.json': { name: 'pg', main: 'index.js' },
  'node_modules/pg/index.js': 'module.exports = { Client: class {} }',
}
const run = (
  files: Record<string, string | object>,
  { side = 'client', server = [], client = [] }: Partial<StripSettings> = {},
  entry = 'src/client.ts',
) =>
  bundleFiles({ ...packages, ...files }, importStrip({ side, server, client }), {
    ...{ entry, platform: side === 'client' ? 'browser' : 'node' },
  })

test('what is for the server is refused in a client bundle, with the way there from the entry', async () => {
  const { errors } = await run({
    'src/client.ts': 'import { load } from "./a"; load()',
    'src/a.ts': 'import { db } from "./db"\nexport const load = () => db',
    'src/db.ts': '// the database\nimport "server-only"\nexport const db = 1',
  })
  expect(errors).toHaveLength(1)
  expect(errors[0]).toContain(
    'server-only is for the server and cannot be in what browsers load: src/client.ts → src/a.ts → src/db.ts → server-only',
  )
  expect(errors[0]).toContain('src/db.ts:2:7:')
})

test.each<[string, string, Partial<StripSettings>, string]>([
  ['a module of Node’s', 'import fs from "node:fs"; console.log(fs)', {}, 'src/client.ts → node:fs'],
  [
    'a module of Node’s without its prefix',
    'import fs from "fs/promises"; console.log(fs)',
    {},
    'src/client.ts → fs/promises',
  ],
  [
    'a package that the config lists',
    'import { Client } from "pg"; new Client()',
    { server: ['pg'] },
    'src/client.ts → pg',
  ],
  ['a file of such a package', 'import "pg/index.js"', { server: ['pg'] }, 'src/client.ts → pg/index.js'],
])('%s is refused', async (_, source, settings, chain) => {
  expect((await run({ 'src/client.ts': source }, settings)).errors.join()).toContain(chain)
})

test('in the server bundle server-only says nothing, and client-only is refused', async () => {
  const server = await run({ 'src/client.ts': 'import "server-only"; console.log(1)' }, { side: 'server' })
  expect(server).toMatchObject({ errors: [], text: expect.not.stringContaining('of a client') })
  const { errors } = await run({ 'src/client.ts': 'import "client-only"' }, { side: 'server' })
  expect(errors.join()).toContain(
    'client-only is for browsers and cannot be in the server: src/client.ts → client-only',
  )
})

test('a package with the name of a module of Node’s, or with something else for browsers, is taken', async () => {
  const { errors } = await run({
    'src/client.ts': 'import "events"; import "maybe"; import "client-only"',
    'node_modules/events/package.json': { name: 'events', main: 'index.js' },
    'node_modules/events/index.js': 'console.log("events for browsers")',
    'node_modules/maybe/package.json': { name: 'maybe', main: 'index.js', browser: { fs: false } },
    'node_modules/maybe/index.js': 'console.log(require("fs"))',
  })
  expect(errors).toEqual([])
})

test('what else is wrong is told as ever', async () => {
  const { errors } = await run({ 'src/client.ts': 'import "server-only"; import "./missing"' })
  expect(errors.join()).toContain('Could not resolve "./missing"')
})
