import { z } from '@hono/zod-openapi'
import { type AppDatabase, listAppDatabases } from '../app-databases.ts'
import { type DatabaseFacts, readDatabaseFacts, roleConnections } from '../database-server.ts'
import { answersJson } from './answers.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { appName, environment, flag, line } from './fields.ts'
import { route } from './route.ts'

const databaseJson = z
  .object({
    name: z.string(),
    environment,
    branch: z.string(),
    created_at: z.string(),
    bytes: z.number().nullable().openapi({ description: 'on the disk of the database server; null: not made yet' }),
    max_bytes: z.number().openapi({ description: 'above it the database is read-only, above twice of it closed' }),
    connections: z.number().nullable(),
    max_connections: z.number(),
  })
  .openapi('Database')

// GET /api/platform/apps/marketing/databases
export const listDatabasesRoute = route({
  method: 'get',
  path: '/apps/{app}/databases',
  summary:
    'List the databases an app was given, with size and connections; their addresses and passwords are never shown',
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  query: z.strictObject({
    facts: flag.default(true).openapi({ description: 'false: without asking the database server' }),
    ...pageQuery(500, 100),
  }),
  answers: answersJson(
    'a page of them, production first, then previews by branch',
    z.object({ databases: z.array(databaseJson), next: nextField }),
  ),
  async handle({ query }, { app, sql, config }) {
    const { limit } = query
    const after = readCursor(query.cursor, z.tuple([environment, line(300)]))
    const found = await listAppDatabases(sql, app.id, { after, limit: limit + 1 })
    const { shown: databases, next } = pageOf(found, limit, ({ environment, branch }) => [environment, branch])
    const facts = await readDatabaseFacts(config, query.facts ? databases : [])
    return Response.json({
      databases: databases.map((one) =>
        toJson(
          one,
          facts.find(({ name }) => name === one.name),
          config.appLimits.databaseMb * 1_048_576,
        ),
      ),
      next,
    })
  },
})

function toJson(
  { name, environment: where, branch, createdAt }: AppDatabase,
  facts: DatabaseFacts | undefined,
  maxBytes: number,
): z.infer<typeof databaseJson> {
  return {
    name,
    environment: where,
    branch,
    created_at: createdAt.toISOString(),
    bytes: facts?.bytes ?? null,
    max_bytes: maxBytes,
    connections: facts?.connections ?? null,
    max_connections: roleConnections,
  }
}
