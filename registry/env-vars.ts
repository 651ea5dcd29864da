import type { Environment } from './branches.ts'
import { AppError } from './errors.ts'
import { type Key, open, seal } from './secrets.ts'
import type { Db } from './sql.ts'

export type EnvVar = { name: string; runtimeOnly: boolean; updatedAt: Date; updatedBy: string }
/** As shipped with a deployment: sealed values (base64) by name. Opened only where the value is used: a build, a host. */
export type EnvSnapshot = Record<string, { value: string; runtime_only: boolean }>

const maxBytes = 65_536

export type EnvScope = { app: string; environment: Environment }

/** Sets variables; values are stored sealed and never read back to people. Throws ENV_NAME_ILLEGAL, ENV_TOO_LARGE. */
export async function setEnv(
  sql: Db,
  scope: EnvScope,
  {
    values,
    runtimeOnly = false,
    by,
    key,
  }: { values: Record<string, string>; runtimeOnly?: boolean; by: string; key: Key },
): Promise<void> {
  for (const [name, value] of Object.entries(values)) {
    parseEnvName(name)
    if (Buffer.byteLength(value) > maxBytes) throw new AppError('ENV_TOO_LARGE', `${name} is larger than 64 kB`)
    if (value.includes('\0')) throw new AppError('REQUEST_INVALID', `${name} holds a NUL character`)
    await sql`
      insert into env_vars (app_id, environment, name, value, runtime_only, updated_by)
      values (${scope.app}, ${scope.environment}, ${name}, ${seal(key, contextOf(scope, name), value)}, ${runtimeOnly}, ${by})
      on conflict (app_id, environment, name) do update
      set value = excluded.value,
          runtime_only = excluded.runtime_only,
          updated_at = now(),
          updated_by = excluded.updated_by
    `
  }
}

/** Returns the names that were there. */
export async function unsetEnv(sql: Db, scope: EnvScope, names: string[]): Promise<string[]> {
  const removed = await sql<{ name: string }[]>`
    delete from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
      and name = any(${names})
    returning name
  `
  return removed.map(({ name }) => name)
}

export async function listEnv(sql: Db, scope: EnvScope): Promise<EnvVar[]> {
  return sql<EnvVar[]>`
    select name, runtime_only, updated_at, updated_by
    from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
    order by name
  `
}

/** The variables as they are now, still sealed: whoever snapshots needs no key. */
export async function snapshotEnv(sql: Db, scope: EnvScope): Promise<EnvSnapshot> {
  const rows = await sql<{ name: string; value: Buffer; runtimeOnly: boolean }[]>`
    select name, value, runtime_only
    from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
    order by name
  `
  return Object.fromEntries(
    rows.map((row) => [row.name, { value: row.value.toString('base64'), runtime_only: row.runtimeOnly }]),
  )
}

/** Opens a snapshot. `for: 'build'` leaves out what is marked runtime-only. */
export function openEnvSnapshot(
  snapshot: EnvSnapshot,
  { scope, key, purpose }: { scope: EnvScope; key: Key; purpose: 'build' | 'run' },
): Record<string, string> {
  const wanted = Object.entries(snapshot).filter(([, entry]) => purpose === 'run' || !entry.runtime_only)
  return Object.fromEntries(
    wanted.map(([name, entry]) => [name, open(key, contextOf(scope, name), Buffer.from(entry.value, 'base64'))]),
  )
}

/** Throws ENV_NAME_ILLEGAL. PORT and ATELIER_* are the platform's own. */
export function parseEnvName(name: string): string {
  const shown = JSON.stringify(name.slice(0, 80))
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name)) {
    throw new AppError('ENV_NAME_ILLEGAL', `${shown} cannot be a variable name: letters, digits and _, no digit first`)
  }
  if (name === 'PORT' || name.startsWith('ATELIER_')) {
    throw new AppError('ENV_NAME_ILLEGAL', `${shown} is set by the platform itself`)
  }
  return name
}

/** Names whose values may reach the files browsers load; they are fixed when a version is built. */
export function isPublicName(name: string): boolean {
  return /^(VITE_|NEXT_PUBLIC_|PUBLIC_)/.test(name)
}

function contextOf({ app, environment }: EnvScope, name: string): string {
  return `env:${app}/${environment}/${name}`
}
