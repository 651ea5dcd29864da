import { chmod, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { AppError, codeOf, messageOf } from '../registry/errors.ts'
import { launch } from '../sandbox/launch.ts'
import { LineSplitter } from '../sandbox/lines.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import { removeAs } from '../sandbox/remove-as.ts'
import { prepareRuntime, stageScript } from '../sandbox/runtime.ts'
import { giveTo, type SandboxUser } from '../sandbox/users.ts'
import { copyLargeObjects, copySequences, copyTables, readContents } from './copy-tables.ts'
import { readInside } from './inside.ts'

export type CopyDeps = {
  home: string
  appNetworks: Promise<AppNetworks>
  user: SandboxUser
  limits: { timeoutMs: number; memoryMb: number; diskMb: number }
  signal: AbortSignal
}

type Copied = { from: DatabaseAccess; to: DatabaseAccess; serverMajor: number }

/** Of the pg_dump that npm brings; it copies no server that is newer. */
const dumpMajor = 18
const longestSchema = 64 * 1_048_576

/**
 * Copies what is in one database into another, which is empty: as it is at one moment, while others go on with it, and whole or not at all. What is in it belongs to
 * the role of the other. The schema is what pg_dump says, behind the walls, for what it reads is the app's; the rows go from the one server session to the other.
 * Throws PROVISION_FAILED.
 */
export async function copyDatabase({ from, to, serverMajor }: Copied, deps: CopyDeps): Promise<void> {
  if (serverMajor > dumpMajor)
    throw failed(`Postgres ${serverMajor} is newer than what Atelier can copy; set database.preview to 'empty'`)
  try {
    await inSession(from, deps, (source) =>
      inSession(to, deps, (target) => copy({ from, serverMajor }, { source, target }, deps)),
    )
  } catch (thrown) {
    deps.signal.throwIfAborted()
    if (thrown instanceof AppError) throw thrown
    throw failed(messageOf(thrown), thrown)
  }
}

async function copy(
  { from, serverMajor }: Pick<Copied, 'from' | 'serverMajor'>,
  { source, target }: { source: pg.Client; target: pg.Client },
  deps: CopyDeps,
): Promise<void> {
  await source.query('begin isolation level repeatable read read only')
  const contents = await readContents(source)
  for (const name of contents.own) await source.query(`lock table only ${name} in access share mode`)
  const { rows } = await source.query<{ snapshot: string }>('select pg_export_snapshot() as snapshot')
  const schema = await dumpSchema(from, rows[0]?.snapshot ?? '', deps)
  const toRun = (text: string) => (serverMajor < 17 ? withoutNewSetting(text) : text)

  await target.query('begin')
  await target.query(toRun(schema.before))
  await copyTables(source, target, contents, deps.signal)
  await copySequences(source, target, contents)
  await copyLargeObjects(source, target)
  await target.query(toRun(schema.after))
  await target.query('commit')
}

// pg_dump turns it off, and servers before 17 do not know it.
function withoutNewSetting(text: string): string {
  return text.replace(/^SET transaction_timeout = 0;$/m, '')
}

// As the database's own role, and with nothing of its settings: what it is set to is the app's.
const settings = `
  set search_path = ''; set statement_timeout = 0; set lock_timeout = '15s'; set idle_in_transaction_session_timeout = 0;
  set row_security = off; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set extra_float_digits = 3;
  set default_transaction_read_only = off; set client_encoding = 'UTF8'`

async function inSession<Result>(
  { server, name, password }: DatabaseAccess,
  { signal }: CopyDeps,
  task: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const { host, port, ssl } = server
  const client = new pg.Client({
    ...{ host, port, user: name, database: name, password, application_name: 'atelier-copy' },
    ...(ssl && { ssl: { rejectUnauthorized: false } }),
    connectionTimeoutMillis: 15_000,
  })
  // A connection that breaks fails the query that runs on it, too.
  client.on('error', () => undefined)
  const cut = () => client.connection.stream.destroy()
  signal.addEventListener('abort', cut)
  try {
    await client.connect()
    await client.query(settings)
    return await task(client)
  } finally {
    signal.removeEventListener('abort', cut)
    // What was not committed is gone with the session.
    cut()
  }
}

async function dumpSchema(
  from: DatabaseAccess,
  snapshot: string,
  deps: CopyDeps,
): Promise<{ before: string; after: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'atl-copy-'))
  try {
    await giveTo(folder, deps.user)
    await chmod(folder, 0o700)
    await runDump(from, { snapshot, folder }, deps)
    const [before, after] = await Promise.all(['pre-data.sql', 'post-data.sql'].map((name) => readSchema(folder, name)))
    return { before: before ?? '', after: after ?? '' }
  } finally {
    await removeAs(deps.user, [folder], folder)
    await rm(folder, { recursive: true, force: true })
  }
}

async function readSchema(folder: string, name: string): Promise<string> {
  if ((await stat(join(folder, name))).size > longestSchema) throw failed('its schema is larger than 64 MB')
  const text = readInside(folder, name, longestSchema)
  if (text === null) throw failed('its schema was not written')
  return text
}

async function runDump(
  database: DatabaseAccess,
  { snapshot, folder }: { snapshot: string; folder: string },
  { home, appNetworks, user, limits, signal }: CopyDeps,
): Promise<void> {
  const runtime = await prepareRuntime(home)
  const beside = ['dump-schema.worker.ts', 'dump-schema-replies.ts'].map((name) => join(import.meta.dirname, name))
  const script = await stageScript(home, join(import.meta.dirname, 'dump-schema.ts'), beside)
  const { namespace, resolvers, env, release } = await (await appNetworks).lease({ database })
  const said: string[] = []
  const lines = new LineSplitter((line) => void said.push(line))
  try {
    const launched = await launch({
      name: 'copy of a database',
      file: runtime.node,
      args: [script, runtime.pgDump, snapshot, folder],
      ...{ cwd: folder, user, limits, signal, readable: runtime.paths },
      env: { PATH: '/usr/bin:/bin', HOME: folder, ...env },
      ...(namespace && { network: namespace }),
      ...(resolvers && { resolvers }),
      onOutput: (_, chunk) => lines.push(chunk),
    })
    const { code, cause } = await launched.exited
    lines.end()
    signal.throwIfAborted()
    if (code === 0) return
    throw failed(said.find((line) => /error/i.test(line)) ?? said[0] ?? `pg_dump ended (${cause})`)
  } finally {
    release()
  }
}

function failed(why: string, cause?: unknown): AppError {
  const code = codeOf(cause) === '55P03' ? ' (a migration of production holds it)' : ''
  return new AppError(
    'PROVISION_FAILED',
    `production's database cannot be copied for the preview: ${why.slice(0, 300)}${code}`,
    { cause },
  )
}
