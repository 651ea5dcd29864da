// Runs in the sandbox, in the network of the app, bundled with its driver into one file: applies the pending SQL files of the folder named on the command
// line to DATABASE_URL, and reports on descriptor 3, a line of JSON each (migrations.ts reads them). What files print besides is only shown.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { isTransactionControl, sqlStatements } from './sql-statements.ts'

const reportDescriptor = 3
// Of Atelier, in the app's database; transactions of others that take it wait for each other.
const lockKey = 7_283_645_777
const connectWithinMs = 15_000
// A migration that waits for a table keeps everybody after it waiting as well, the live version's requests too.
const lockTimeout = '15s'

class Refused extends Error {
  readonly line: number

  constructor(line: number, message: string) {
    super(message)
    this.line = line
  }
}

const folder = process.argv[2] ?? ''
await main()

async function main(): Promise<void> {
  const names = filesOf(folder)
  if (names === null) return report({ missing: true })
  const url = process.env['DATABASE_URL']
  if (names.length === 0 || !url) return report(url || names.length === 0 ? { done: 0 } : { unset: names.length })
  if (!/^postgres(ql)?:/.test(url)) return report({ foreign: true })
  const client = new pg.Client({ connectionString: withoutWarning(url), connectionTimeoutMillis: connectWithinMs })
  // A connection that breaks fails the query that runs on it, too.
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (thrown) {
    return report({ unreachable: reasonOf(thrown) })
  }
  await applyAll(client, names)
  await client.end()
}

async function applyAll(client: pg.Client, names: string[]): Promise<void> {
  client.on('notice', ({ severity, message }) => {
    if (!/^relation "atelier_migrations" already exists/.test(message ?? '')) console.log(`${severity}: ${message}`)
  })
  for (let applied = -1; ; ) {
    const next = await applyNext(client, names)
    if (next === null) return
    applied += 1
    if (next.kind === 'none') return report({ done: next.before - applied })
    report({ applied: next.name })
    console.log(`${next.name} ${next.ms} ms`)
  }
}

type Next = { kind: 'applied'; name: string; ms: number } | { kind: 'none'; before: number }

// Whole or not at all, and one process at a time: who comes second finds it applied. Null: it failed, and was reported.
async function applyNext(client: pg.Client, names: string[]): Promise<Next | null> {
  let at = ''
  let completed = 0
  let text = ''
  const count = () => {
    completed += 1
  }
  try {
    await client.query('reset all')
    await client.query('begin')
    await client.query(`select pg_advisory_xact_lock(${lockKey})`)
    const table = await ensureTable(client)
    const known = await client.query<{ name: string; sha256: string }>(`select name, sha256 from ${table}`)
    const applied = new Map(known.rows.map(({ name, sha256 }) => [name, sha256]))
    const name = names.find((one) => !applied.has(one))
    if (name === undefined) {
      await client.query('commit')
      for (const one of names) if (digestOf(read(one)) !== applied.get(one)) console.log(changed(one))
      return { kind: 'none', before: names.filter((one) => applied.has(one)).length }
    }
    at = name
    text = read(name)
    const control = sqlStatements(text).find(isTransactionControl)
    if (control)
      throw new Refused(control.line, `${control.words[0]?.toLowerCase()}: each file is a transaction as it is`)
    const started = performance.now()
    await client.query(`set local lock_timeout = '${lockTimeout}'`)
    client.connection.on('commandComplete', count)
    await client.query(text)
    client.connection.off('commandComplete', count)
    await client.query(`insert into ${table} (name, sha256) values ($1, $2)`, [name, digestOf(text)])
    await client.query('commit')
    return { kind: 'applied', name, ms: Math.round(performance.now() - started) }
  } catch (thrown) {
    client.connection.off('commandComplete', count)
    report({ failed: at, ...describe(thrown, text, completed) })
    await client.end().catch(() => undefined)
    return null
  }
}

// Named in full: a file may leave another search path behind.
async function ensureTable(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ schema: string | null }>('select current_schema() as schema')
  const schema = rows[0]?.schema
  if (!schema) throw new Error('the role of DATABASE_URL has no schema to create tables in')
  const table = `${client.escapeIdentifier(schema)}.atelier_migrations`
  await client.query(
    `create table if not exists ${table} (name text primary key, sha256 text not null, applied_at timestamptz not null default now())`,
  )
  return table
}

type Failure = { line: number | null; reason: string; code: string | null; source: string; more: string[] }

function describe(thrown: unknown, text: string, completed: number): Failure {
  const statements = sqlStatements(text)
  const isOfServer = thrown instanceof pg.DatabaseError
  const position = isOfServer && thrown.position ? Number(thrown.position) : null
  const line =
    thrown instanceof Refused
      ? thrown.line
      : position !== null
        ? [...text].slice(0, position - 1).filter((character) => character === '\n').length + 1
        : (statements[completed]?.line ?? null)
  const more = isOfServer ? [thrown.detail, thrown.hint, thrown.where?.split('\n')[0]] : []
  return {
    line,
    reason: reasonOf(thrown),
    code: isOfServer ? (thrown.code ?? null) : null,
    source: line === null ? '' : (text.split('\n')[line - 1] ?? '').trim(),
    more: more.flatMap((said) => (said ? [said] : [])),
  }
}

function filesOf(place: string): string[] | null {
  try {
    return readdirSync(place)
      .filter((name) => name.endsWith('.sql') && !name.endsWith('.down.sql'))
      .sort((a, b) => (a < b ? -1 : 1))
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR'))
      return null
    throw thrown
  }
}

function read(name: string): string {
  return readFileSync(join(folder, name), 'utf8').replace(/^\uFEFF/, '')
}

function changed(name: string): string {
  return `${name} is not as it was when it was applied; what has changed in it is not run: write another file`
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

// libpq's meaning of sslmode is what hosts of databases write their addresses for; the driver's own differs, with a warning on each connection.
function withoutWarning(url: string): string {
  const isMeant = /[?&]sslmode=(require|prefer|allow)(&|$)/.test(url) && !url.includes('uselibpqcompat')
  return isMeant ? `${url}&uselibpqcompat=true` : url
}

function reasonOf(thrown: unknown): string {
  if (thrown instanceof AggregateError) return thrown.errors.map(reasonOf).join(', ')
  return thrown instanceof Error ? thrown.message : String(thrown)
}

function report(message: object): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`)
  for (let at = 0; at < bytes.length; ) at += writeSync(reportDescriptor, bytes, at)
}
