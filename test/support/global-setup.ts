import { dirname } from 'node:path'
import type { TestProject } from 'vitest/node'
import { closedAncestor } from '../../sandbox/reach.ts'
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
  await warnOfClosedCheckout()
  await requireChromium().catch((error: Error) => console.warn(error.message))
  const postgres = await startTestPostgres()
  project.provide('postgresUrl', postgres.url)
  return () => postgres.close()
}

// Some fifty tests would say the same in other words: what they run as another user finds neither Node nor the scripts.
async function warnOfClosedCheckout(): Promise<void> {
  const closed = process.getuid?.() === 0 ? await closedAncestor(dirname(process.execPath)) : null
  if (closed)
    console.warn(
      `${closed} is closed to other users (chmod o+x ${closed}): tests that run programs of this checkout as other users will fail`,
    )
}
