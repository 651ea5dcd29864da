import postgres from 'postgres'
import { AppError, codeOf } from './errors.ts'

export type Sql = postgres.Sql
/** What every module takes: the pool, or the transaction it is part of. */
export type Db = postgres.Sql | postgres.TransactionSql

export type DatabaseAddress = {
  host: string
  port: number
  user: string
  password: string
  database: string
  ssl: boolean
}

/**
 * Reads `postgres://user:password@host:port/database`; `?host=/directory` names a unix socket's directory.
 * Throws CONFIG_ENV when it is not such an address.
 */
export function parseDatabaseUrl(databaseUrl: string | null): DatabaseAddress {
  if (!databaseUrl || !URL.canParse(databaseUrl)) {
    throw new AppError(
      'CONFIG_ENV',
      'ATELIER_DATABASE_URL must be an address like postgres://user:password@host:5432/atelier',
    )
  }
  const url = new URL(databaseUrl)
  return {
    host: url.searchParams.get('host') ?? url.hostname,
    port: Number(url.port || 5432),
    user: decodeURIComponent(url.username || 'atelier'),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)) || 'atelier',
    ssl: ['require', 'verify-full', 'verify-ca'].includes(url.searchParams.get('sslmode') ?? ''),
  }
}

/**
 * A pool of connections. Columns arrive in camelCase; jsonb is left as it is. Connections are made on first use and made again
 * when they break; queries fail after `connect_timeout` seconds without one.
 */
export function connect(
  databaseUrl: string | null,
  { max = 6, name = 'atelier' }: { max?: number; name?: string } = {},
): Sql {
  const { ssl, ...address } = parseDatabaseUrl(databaseUrl)
  return postgres({
    ...address,
    ...(ssl ? { ssl: 'require' as const } : {}),
    max,
    idle_timeout: 60,
    connect_timeout: 5,
    backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 2),
    onnotice: () => undefined,
    transform: { column: { from: postgres.toCamel } },
    types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } },
    connection: { application_name: name },
  })
}

/** True when the database could not be reached, as opposed to having refused a statement. */
export function isUnreachable(thrown: unknown): boolean {
  const code = codeOf(thrown) ?? ''
  const ofDriver = ['CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT']
  const ofSystem = ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EACCES']
  return ofDriver.includes(code) || ofSystem.includes(code) || code.startsWith('57P') || code.startsWith('08')
}

/** The name of the constraint a statement violated, else undefined. */
export function violatedConstraint(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('constraint_name' in thrown)) return undefined
  return typeof thrown.constraint_name === 'string' ? thrown.constraint_name : undefined
}
