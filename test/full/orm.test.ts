import { afterAll, expect, inject, test } from 'vitest'
import { connect } from '../../registry/sql.ts'
import { type TestFiles, TestWorker } from '../support/build-worker.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

// The version is verified by an app that answers only what its tool has read from its table.
const config = (release: string) => ({
  database: { provision: true, release },
  deployments: { healthCheck: { path: '/' } },
})
const table = 'create table people (name text primary key);\n'
const more = "insert into people values ('ada');\n"

const journalOf = (tags: string[]) => ({
  version: '7',
  dialect: 'postgresql',
  entries: tags.map((tag, idx) => ({ idx, version: '7', when: 1_700_000_000_000 + idx, tag, breakpoints: true })),
})

const drizzle: TestFiles = {
  'package.json': { dependencies: { 'drizzle-orm': '^0.45', 'drizzle-kit': '^0.31', pg: '^8' } },
  'server.js': `
    const { drizzle } = require('drizzle-orm/node-postgres')
    const { pgTable, text } = require('drizzle-orm/pg-core')
    const people = pgTable('people', { name: text('name').primaryKey() })
    const db = drizzle(process.env.DATABASE_URL)
    require('http').createServer(async (q, s) => {
      try { s.end((await db.select().from(people)).map(({ name }) => name).join()) }
      catch (error) { s.writeHead(500).end(String(error.cause ?? error)) }
    }).listen(process.env.PORT)`,
  'drizzle.config.js':
    "module.exports = { dialect: 'postgresql', out: './drizzle', dbCredentials: { url: process.env.DATABASE_URL } }",
  'drizzle/0000_people.sql': table,
  'drizzle/0001_ada.sql': more,
  'drizzle/meta/_journal.json': journalOf(['0000_people', '0001_ada']),
  'atelier.config.json': config('npx drizzle-kit migrate'),
}

// With the engine in JavaScript: the other one is a program that the CLI fetches from binaries.prisma.sh, and version 7 has no other for migrations. Without an
// address in its environment `generate` fetches the other one all the same, and the adapter of version 6 cannot read a column of type name, which migrations need.
const prisma: TestFiles = {
  'package.json': {
    type: 'module',
    scripts: { build: 'DATABASE_URL=postgres://nobody@127.0.0.1:1/none prisma generate', start: 'node server.js' },
    dependencies: { prisma: '~6.19', '@prisma/client': '~6.19', '@prisma/adapter-pg': '^7' },
  },
  'server.js': `
    import { createServer } from 'node:http'
    import { PrismaPg } from '@prisma/adapter-pg'
    import { PrismaClient } from '@prisma/client'
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) })
    createServer(async (q, s) => {
      try { s.end((await prisma.people.findMany()).map(({ name }) => name).join()) }
      catch (error) { s.writeHead(500).end(String(error)) }
    }).listen(process.env.PORT)`,
  'prisma.config.js': `
    import { PrismaPg } from '@prisma/adapter-pg'
    export default {
      experimental: { adapter: true },
      engine: 'js',
      schema: 'prisma/schema.prisma',
      adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL }),
    }`,
  'prisma/schema.prisma': `
    generator client {
      provider   = "prisma-client-js"
      engineType = "client"
    }
    datasource db {
      provider = "postgresql"
      url      = env("DATABASE_URL")
    }
    model people {
      name String @id
    }`,
  'prisma/migrations/20260101000000_people/migration.sql': table,
  'prisma/migrations/20260102000000_ada/migration.sql': more,
  'prisma/migrations/migration_lock.toml': 'provider = "postgresql"\n',
  'atelier.config.json': config('npx prisma migrate deploy'),
}

test.each([
  [
    'drizzle',
    drizzle,
    {
      'drizzle/0002_bad.sql': 'alter table nowhere add a int;\n',
      'drizzle/meta/_journal.json': journalOf(['0000_people', '0001_ada', '0002_bad']),
    },
  ],
  ['prisma', prisma, { 'prisma/migrations/20260103000000_bad/migration.sql': 'alter table nowhere add a int;\n' }],
] satisfies [string, TestFiles, TestFiles][])(
  '%s migrates the database an app was given, and reads it in the version that is verified',
  async (name, files, bad) => {
    const app = await worker.createApp(`${name}-app`)
    const first = await worker.deploy(app, files)
    expect(first.deployment.stateReason, first.log.join('\n')).toBeNull()
    const url = new URL(inject('postgresUrl'))
    url.pathname = `/${first.deployment.database}`
    const sql = connect(url.href, { max: 1 })
    expect(await sql`select name from people`).toEqual([{ name: 'ada' }])
    await sql.end()

    const second = await worker.deploy(app, files)
    expect(second.deployment).toMatchObject({ stateReason: null, state: 'live', database: first.deployment.database })

    const third = await worker.deploy(app, { ...files, ...bad })
    expect(third.deployment).toMatchObject({ state: 'failed', errorCode: 'RELEASE_FAILED' })
    expect((await worker.read(second.deployment)).deployment.state).toBe('live')
  },
)
