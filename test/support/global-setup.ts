import type { TestProject } from 'vitest/node'
import { startTestPostgres } from './test-postgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Of the superuser, in the database `postgres`. */
    postgresUrl: string
  }
}

/** Once for the whole run, also of a single file: one Postgres with one migrated template. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const postgres = await startTestPostgres()
  project.provide('postgresUrl', postgres.url)
  return () => postgres.close()
}
