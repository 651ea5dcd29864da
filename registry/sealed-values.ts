import type { EnvEntry, EnvSnapshot } from './env-vars.ts'
import type { Db } from './sql.ts'

/** One sealed value of a row, and where it is put back. */
export type SealedValue = { context: string; sealed: Buffer; put: (sealed: Buffer) => void }

/** A table with sealed values. `key`: the columns of its primary key, all text, by which rows are gone through. */
export type SealedTable = {
  table: string
  key: string[]
  columns: string[]
  /** What of a row is sealed. `put` of each changes the row that was given. */
  valuesOf(row: Row): SealedValue[]
}
/** As the driver gives it: names in camelCase. */
export type Row = Record<string, unknown>

/**
 * Every place in the database where something is sealed with the platform's key, with the context it is sealed in. Who seals something in a new place adds it
 * here: what is not here does not open once the key was replaced (a test compares the list with the columns there are). Chunks of commands are not: they are there for
 * seconds, and the former key opens them until it is forgotten.
 */
export const sealedTables: SealedTable[] = [
  {
    table: 'env_vars',
    key: ['app_id', 'environment', 'branch', 'name'],
    columns: ['app_id', 'environment', 'branch', 'name', 'value'],
    valuesOf: (row) => bytes(row, 'value', envContext(row, String(row['branch']), String(row['name']))),
  },
  {
    table: 'deployments',
    key: ['id'],
    columns: ['app_id', 'environment', 'env_snapshot', 'git_origin'],
    valuesOf: (row) => [
      ...Object.entries(row['envSnapshot'] as EnvSnapshot).map(([name, entry]: [string, EnvEntry]) => ({
        context: envContext(row, entry.branch ?? '', name),
        sealed: Buffer.from(entry.value, 'base64'),
        put: (sealed: Buffer) => {
          entry.value = sealed.toString('base64')
        },
      })),
      ...tokenOf(row),
    ],
  },
  {
    table: 'app_databases',
    key: ['name'],
    columns: ['name', 'password'],
    valuesOf: (row) => bytes(row, 'password', `database:${row['name']}`),
  },
  {
    table: 'app_runs',
    key: ['id'],
    columns: ['id', 'command'],
    valuesOf: (row) => bytes(row, 'command', `run:${row['id']}`),
  },
  {
    table: 'repo_links',
    key: ['id'],
    columns: ['id', 'secret', 'token'],
    valuesOf: (row) => [
      ...bytes(row, 'secret', `repo-link:${row['id']}/secret`),
      ...bytes(row, 'token', `repo-link:${row['id']}/token`),
    ],
  },
  {
    table: 'repeats',
    key: ['caller', 'key'],
    columns: ['caller', 'key', 'answer'],
    valuesOf: (row) => bytes(row, 'answer', `answer to ${row['caller']} ${row['key']}`),
  },
  {
    table: 'webhooks',
    key: ['id'],
    columns: ['id', 'address', 'secret', 'former_secret'],
    valuesOf: (row) => [
      ...bytes(row, 'address', `webhook:${row['id']}/address`),
      ...bytes(row, 'secret', `webhook:${row['id']}/secret`),
      ...bytes(row, 'formerSecret', `webhook:${row['id']}/secret`),
    ],
  },
]

/** A row with what names it: its key, and the version that was read. */
export type ReadRow = Row & { rowKey: string[]; rowVersion: string }

/** Rows past `after`, in the order of their keys, as their index has it. */
export async function readSealedRows(
  sql: Db,
  { table, key, columns }: SealedTable,
  { after, limit }: { after: string[] | null; limit: number },
): Promise<ReadRow[]> {
  return sql`
    select json_build_array(${sql(key)}) as row_key, xmin::text as row_version, ${sql(columns)}
    from ${sql(table)}
    ${after ? sql`where (${sql(key)}) > (${listOf(sql, after)})` : sql``}
    order by ${sql(key)}
    limit ${limit}
  `
}

/** `a, b`: the values of a row, to compare it with columns. */
export function listOf(sql: Db, values: string[]) {
  return values.map((value, at) => (at === 0 ? sql`${value}` : sql`, ${value}`))
}

function bytes(row: Row, column: string, context: string): SealedValue[] {
  const sealed = row[column]
  if (!(sealed instanceof Uint8Array)) return []
  return [{ context, sealed: Buffer.from(sealed), put: (again) => Object.assign(row, { [column]: again }) }]
}

function tokenOf(row: Row): SealedValue[] {
  const origin = row['gitOrigin'] as { token?: string } | null
  if (!origin?.token) return []
  const put = (sealed: Buffer) => Object.assign(origin, { token: sealed.toString('base64') })
  return [{ context: `git of ${row['appId']}`, sealed: Buffer.from(origin.token, 'base64'), put }]
}

function envContext({ appId, environment }: Row, branch: string, name: string): string {
  return `env:${appId}/${environment}${branch && `/${branch}`}/${name}`
}
