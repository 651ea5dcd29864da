import { join } from 'node:path'
import { z } from 'zod'
import { AppError } from '../registry/errors.ts'
import { stageBundle } from '../sandbox/runtime.ts'
import type { BuildContext } from './build-context.ts'
import type { Programs } from './programs.ts'

const longestReport = 1_048_576

const reported = z.union([
  z.strictObject({ applied: z.string() }),
  z.strictObject({ done: z.number() }),
  z.strictObject({ missing: z.literal(true) }),
  z.strictObject({ unset: z.number() }),
  z.strictObject({ foreign: z.literal(true) }),
  z.strictObject({ unreachable: z.string() }),
  z.strictObject({
    failed: z.string(),
    line: z.number().nullable(),
    reason: z.string(),
    code: z.string().nullable(),
    source: z.string(),
    more: z.array(z.string()),
  }),
])
type Reported = z.infer<typeof reported>

/**
 * Applies the app's pending SQL files to its DATABASE_URL, in order, each in a transaction and once, whoever else does at the same time; from behind the
 * walls, for the address is the app's. `onApplied` is told the names of those applied, also when a later one fails. Throws MIGRATION_FAILED with file and line.
 */
export async function migrateApp(
  context: BuildContext,
  {
    folder,
    home,
    programs,
    onApplied,
  }: { folder: string; home: string; programs: Programs; onApplied: (names: string[]) => Promise<void> },
): Promise<void> {
  const script = await stageBundle(home, join(import.meta.dirname, 'run-migrations.ts'), context.runtime)
  await context.log.step('Migrating', `${folder}/*.sql`, async (step) => {
    const said = await programs.run({
      name: 'migrations',
      file: context.runtime.node,
      args: [script, join(context.folder, folder)],
      cwd: context.folder,
      env: context.deployEnv,
      code: 'MIGRATION_FAILED',
      controlBytes: longestReport,
    })
    const reports = parse(said.toString('utf8'))
    const applied = reports.flatMap((one) => ('applied' in one ? [one.applied] : []))
    await onApplied(applied)
    const last = reports.at(-1)
    if (!last || !('done' in last)) throw explain(last, folder, applied)
    const before = last.done > 0 ? `, ${last.done} before` : ''
    step.detail(`${folder}/*.sql: ${applied.length > 0 ? `${applied.length} applied${before}` : 'none is pending'}`)
  })
}

// The script is the platform's, and what it reads and connects to is not.
function parse(text: string): Reported[] {
  return text
    .split('\n')
    .filter(Boolean)
    .flatMap((line) => {
      const read = reported.safeParse(parseJson(line))
      return read.success ? [read.data] : []
    })
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw thrown
  }
}

function explain(last: Reported | undefined, folder: string, applied: string[]): AppError {
  const stays = applied.length > 0 ? `; applied before it and kept: ${applied.join(', ')}` : ''
  const failed = (message: string, more: string[] = []) =>
    new AppError('MIGRATION_FAILED', [message, ...more.map((line) => `  ${line}`)].join('\n'))
  if (!last || 'applied' in last || 'done' in last) return failed(`${folder}: it ended before its last file${stays}`)
  if ('missing' in last) return failed(`database.migrations is ${folder}, and there is no such folder`)
  if ('unset' in last)
    return failed(
      `${folder} has ${last.unset === 1 ? 'an .sql file' : `${last.unset} .sql files`}, and DATABASE_URL is not set; atelier env set DATABASE_URL=…`,
    )
  if ('foreign' in last)
    return failed(
      `${folder}/*.sql are for Postgres, which DATABASE_URL is not; set database.release to what migrates it`,
    )
  if ('unreachable' in last)
    return failed(`${folder}: the database at DATABASE_URL cannot be reached: ${last.unreachable}`)
  const place = `${folder}${last.failed && `/${last.failed}`}${last.line === null ? '' : `:${last.line}`}`
  const more = [last.source, ...last.more, ...hintOf(last.code)].filter(Boolean)
  return failed(`${place}: ${last.reason}; nothing of it is applied${stays}`, more)
}

function hintOf(code: string | null): string[] {
  if (code === '25001') return ['each file is a transaction; what cannot be in one is for database.release']
  if (code === '55P03')
    return [
      'it waited for a lock that somebody else holds, such as the live version; to wait longer than 15 s: set local lock_timeout = …',
    ]
  return []
}
