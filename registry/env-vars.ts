import type { Environment } from './branches.ts'
import { AppError } from './errors.ts'
import { type Key, open, seal } from './secrets.ts'
import type { Db } from './sql.ts'

export type EnvVar = {
  name: string
  /** Null: of the whole environment. */
  branch: string | null
  runtimeOnly: boolean
  updatedAt: Date
  updatedBy: string
  /** Null: it is never shown. */
  value: string | null
}
/**
 * As shipped with a deployment: sealed values (base64) by name. Opened only where the value is used: a build, a host. `branch`: it is the branch's own,
 * not the environment's.
 */
export type EnvSnapshot = Record<string, EnvEntry>
export type EnvEntry = { value: string; runtime_only: boolean; branch?: string | undefined }

const maxBytes = 65_536

export type EnvScope = { app: string; environment: Environment }
/** `branch`: that of a preview, whose own variables go before those all previews share; left out: what all share. */
export type EnvBranch = EnvScope & { branch?: string | null | undefined }

export type EnvChange = {
  values: Record<string, string>
  /** Left out: as they were; new ones are there for builds, too. */
  runtimeOnly?: boolean | undefined
  /** The same; new ones are never shown. */
  isReadable?: boolean | undefined
  by: string
  key: Key
}

type SealedVar = { name: string; branch: string; value: Buffer; runtimeOnly: boolean }

/**
 * Sets variables of the scope itself; values are stored sealed. Returns the names that are new or have other values now; the others are left untouched, so
 * nobody takes them for changed. Throws ENV_NAME_ILLEGAL, ENV_TOO_LARGE, REQUEST_INVALID.
 */
export async function setEnv(tx: Db, scope: EnvBranch, { values, by, key, ...wanted }: EnvChange): Promise<string[]> {
  const branch = branchOf(scope)
  const before = new Map((await lockSealed(tx, scope)).map((one) => [one.name, one]))
  const changed: string[] = []
  for (const [name, value] of Object.entries(values)) {
    parseEnvName(name)
    if (Buffer.byteLength(value) > maxBytes) throw new AppError('ENV_TOO_LARGE', `${name} is larger than 64 kB`)
    if (value.includes('\0')) throw new AppError('REQUEST_INVALID', `${name} holds a NUL character`)
    const one = before.get(name)
    const runtimeOnly = wanted.runtimeOnly ?? one?.runtimeOnly ?? false
    const isReadable = wanted.isReadable ?? one?.isReadable ?? false
    const isSame = one !== undefined && open(key, contextOf(scope, name, branch), one.value) === value
    if (isSame && one.runtimeOnly === runtimeOnly && one.isReadable === isReadable) continue
    if (!isSame || one.runtimeOnly !== runtimeOnly) changed.push(name)
    await tx`
      insert into env_vars (app_id, environment, branch, name, value, runtime_only, is_readable, updated_by)
      values (
        ${scope.app}, ${scope.environment}, ${branch}, ${name},
        ${isSame ? one.value : seal(key, contextOf(scope, name, branch), value)}, ${runtimeOnly}, ${isReadable}, ${by}
      )
      on conflict (app_id, environment, branch, name) do update
      set value = excluded.value,
          runtime_only = excluded.runtime_only,
          is_readable = excluded.is_readable,
          updated_at = now(),
          updated_by = excluded.updated_by
    `
  }
  return changed
}

/** Removes those of the scope itself. Returns the names that were there. */
export async function unsetEnv(sql: Db, scope: EnvBranch, names: string[]): Promise<string[]> {
  const removed = await sql<{ name: string }[]>`
    delete from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
      and branch = ${branchOf(scope)}
      and name = any(${names})
    returning name
  `
  return removed.map(({ name }) => name)
}

/** What counts in the scope: of a branch its own and those it takes over. `key` opens the readable ones. */
export async function listEnv(sql: Db, scope: EnvBranch, key: Key): Promise<EnvVar[]> {
  const rows = await sql<(Omit<EnvVar, 'value' | 'branch'> & SealedVar & { isReadable: boolean })[]>`
    select distinct on (name) name, branch, value, runtime_only, is_readable, updated_at, updated_by
    from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
      and branch in ('', ${branchOf(scope)})
    order by name, branch desc
  `
  return rows.map(({ value, branch, isReadable, ...rest }) => ({
    ...rest,
    branch: branch || null,
    value: isReadable ? open(key, contextOf(scope, rest.name, branch), value) : null,
  }))
}

/** The branches of previews that have variables of their own. */
export async function listEnvBranches(sql: Db, app: string): Promise<string[]> {
  const rows = await sql<{ branch: string }[]>`
    select distinct branch
    from env_vars
    where app_id = ${app}
      and branch <> ''
    order by branch
  `
  return rows.map(({ branch }) => branch)
}

/** What counts in the scope now, still sealed: whoever snapshots needs no key. */
export async function snapshotEnv(sql: Db, scope: EnvBranch): Promise<EnvSnapshot> {
  const rows = await sql<SealedVar[]>`
    select distinct on (name) name, branch, value, runtime_only
    from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
      and branch in ('', ${branchOf(scope)})
    order by name, branch desc
  `
  return Object.fromEntries(
    rows.map(({ name, branch, value, runtimeOnly }): [string, EnvEntry] => [
      name,
      { value: value.toString('base64'), runtime_only: runtimeOnly, ...(branch && { branch }) },
    ]),
  )
}

/** Opens a snapshot. `for: 'build'` leaves out what is marked runtime-only. */
export function openEnvSnapshot(
  snapshot: EnvSnapshot,
  { scope, key, purpose }: { scope: EnvScope; key: Key; purpose: 'build' | 'run' },
): Record<string, string> {
  const wanted = Object.entries(snapshot).filter(([, entry]) => purpose === 'run' || !entry.runtime_only)
  return Object.fromEntries(wanted.map(([name, entry]) => [name, openEntry(name, entry, scope, key)]))
}

/** Names that are in one of two snapshots of a scope only, or mean something else in it: another value, or whether builds see it. */
export function differingNames(
  before: EnvSnapshot,
  after: EnvSnapshot,
  { scope, key }: { scope: EnvScope; key: Key },
): string[] {
  const isSame = (name: string, a: EnvEntry | undefined, b: EnvEntry | undefined) => {
    if (!a || !b || a.runtime_only !== b.runtime_only) return false
    return a.value === b.value || openEntry(name, a, scope, key) === openEntry(name, b, scope, key)
  }
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names].filter((name) => !isSame(name, before[name], after[name])).sort()
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

async function lockSealed(tx: Db, scope: EnvBranch): Promise<(SealedVar & { isReadable: boolean })[]> {
  return tx<(SealedVar & { isReadable: boolean })[]>`
    select name, branch, value, runtime_only, is_readable
    from env_vars
    where app_id = ${scope.app}
      and environment = ${scope.environment}
      and branch = ${branchOf(scope)}
    for update
  `
}

function openEntry(name: string, { value, branch = '' }: EnvEntry, scope: EnvScope, key: Key): string {
  return open(key, contextOf(scope, name, branch), Buffer.from(value, 'base64'))
}

// Production has one branch.
function branchOf({ environment, branch }: EnvBranch): string {
  return environment === 'production' ? '' : (branch ?? '')
}

function contextOf({ app, environment }: EnvScope, name: string, branch: string): string {
  return `env:${app}/${environment}${branch && `/${branch}`}/${name}`
}
