import type { TestProject } from 'vitest/node'
import { requireChromium } from './browser.ts'
import { findProgram } from './machine.ts'
import { startTestPostgres } from './test-postgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Of the superuser, in the database `postgres`. */
    postgresUrl: string
  }
}

/** Once for a run, also of a single file: looks at the machine, then starts one Postgres with one migrated template. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!(await findProgram('git'))) throw new Error('the tests push with the real git and there is none; install git')
  await requireChromium().catch((error: Error) => console.warn(error.message))
  const postgres = await startTestPostgres()
  project.provide('postgresUrl', postgres.url)
  return () => postgres.close()
}
