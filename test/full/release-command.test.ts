import { afterAll, expect, test } from 'vitest'
import { TestWorker } from '../support/build-worker.ts'
import { reachableDatabase } from '../support/reachable-database.ts'

const database = await reachableDatabase()
const worker = await TestWorker.start({ ATELIER_EGRESS_ALLOW: database.egressAllow })
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const server = `
  const { Client } = require('pg')
  const client = new Client(process.env.DATABASE_URL)
  client.connect()
  require('http').createServer(async (q, s) => {
    const { rows } = await client.query('select name from people')
    s.end(rows.map(({ name }) => name).join())
  }).listen(process.env.PORT)`

test('knex migrates as the release command, and the app that is verified after it finds its table', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { DATABASE_URL: database.url }, { runtimeOnly: true })
  const files = {
    'package.json': { dependencies: { knex: '^3', pg: '^8' } },
    'server.js': server,
    'knexfile.js': "module.exports = { client: 'pg', connection: process.env.DATABASE_URL }",
    'migrations/1_people.js':
      "exports.up = async (knex) => { await knex.schema.createTable('people', (t) => t.text('name')); await knex('people').insert({ name: 'ada' }) }\nexports.down = (knex) => knex.schema.dropTable('people')",
    'atelier.config.json': {
      database: { release: 'npx knex migrate:latest' },
      deployments: { healthCheck: { path: '/' } },
    },
  }
  const first = await worker.deploy(app, files)
  expect(first.deployment.stateReason).toBeNull()
  expect(first.log.join('\n')).toContain('Batch 1 run: 1 migrations')
  expect(await database.sql`select name from people`).toMatchObject([{ name: 'ada' }])

  const second = await worker.deploy(app, files)
  expect(second.deployment.stateReason).toBeNull()
  expect(second.log.join('\n')).toContain('Already up to date')

  const broken = {
    ...files,
    'migrations/2_bad.js': "exports.up = () => { throw new Error('no such luck') }\nexports.down = () => {}",
  }
  const third = await worker.deploy(app, broken)
  expect(third.deployment).toMatchObject({ state: 'failed', errorCode: 'RELEASE_FAILED' })
  expect(third.log.join('\n')).toContain('no such luck')
})
