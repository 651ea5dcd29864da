import type { Sql as DriverSql, TransactionSql } from 'postgres'
import { DatabaseSocket, defaultAnswerWithinMs, statementTimeoutMs } from './database-socket.ts'
import { AppError, codeOf } from './errors.ts'
import { postgres } from './postgres.ts'

export type Sql = DriverSql
/** What every module takes: the pool, or the transaction it is part of. */
export type Db = Sql | TransactionSql

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
 * when they break; queries fail after `connect_timeout` seconds without one. A statement is ended after 15 s, and a connection on which
 * the server has vanished is given up after `answerWithinMs`; null: statements may take as long as they take, for migrations.
 */
export function connect(
  databaseUrl: string | null,
  {
    max = 6,
    name = 'atelier',
    answerWithinMs = defaultAnswerWithinMs,
  }: { max?: number; name?: string; answerWithinMs?: number | null } = {},
): Sql {
  const { ssl, ...address } = parseDatabaseUrl(databaseUrl)
  const socket = () => openSocket(address, ssl ? null : answerWithinMs)
  return postgres({
    ...address,
    ...(ssl ? { ssl: 'require' as const } : {}),
    max,
    idle_timeout: 60,
    connect_timeout: 5,
    backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 2),
    onnotice: () => undefined,
    transform: { column: { from: postgres.toCamel } },
    types: {
      bigint: { to: 20, from: [20], serialize: String, parse: Number },
      texts: { to: 1009, from: [], serialize: arrayLiteral, parse: String },
      times: { to: 1185, from: [], serialize: arrayLiteral, parse: String },
    },
    // The driver would ask each new connection for the array types of the server, and a connection that breaks while it asks rejects a
    // promise nobody holds, which ends the process. Arrays are parameters only, and of the two types above.
    fetch_types: false,
    connection: { application_name: name, statement_timeout: answerWithinMs === null ? 0 : statementTimeoutMs },
    // Not in the driver's types, and documented in its README.
    ...{ socket },
  })
}

function arrayLiteral(values: unknown[]): string {
  const escaped = values.map((value) => `"${String(value).replace(/["\\]/g, '\\$&')}"`)
  return `{${escaped.join(',')}}`
}

// The driver takes a socket of ours as connected; what it writes before it is waits.
function openSocket(
  { host, port }: Pick<DatabaseAddress, 'host' | 'port'>,
  answerWithinMs: number | null,
): DatabaseSocket {
  const socket = new DatabaseSocket({ answerWithinMs })
  // The driver (3.4.9) never settles a query that it is given between a connection's error and its close, which are some milliseconds apart.
  let failure: Error | null = null
  socket.on('error', (error) => {
    failure = error
  })
  socket.on('close', () => failure && socket.emit('error', failure))
  return host.startsWith('/') ? socket.connect(`${host}/.s.PGSQL.${port}`) : socket.connect(port, host)
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
