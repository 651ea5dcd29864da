import { execFile } from 'node:child_process'
import { chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { AppError, codeOf, messageOf } from '../../registry/errors.ts'
import type { PostgresUser } from './postgres-user.ts'

const run = promisify(execFile)

export const postgresVersion = '18'

export type Cluster = { dataDir: string; user: PostgresUser | null }

/**
 * What stands at `dataDir`: 'ready' to be started, or 'missing'. Throws HOME_UNUSABLE when something stands there that this Postgres
 * cannot run: another version's data, garbage, or another user's.
 */
export async function inspectCluster({ dataDir, user }: Cluster): Promise<'ready' | 'missing'> {
  const owner = await ownerOf(dataDir)
  if (owner === null) return 'missing'

  const uid = user?.uid ?? process.getuid?.()
  if (owner !== uid) {
    const who = user ? `the system user with id ${uid}` : userInfo().username
    throw new AppError(
      'HOME_UNUSABLE',
      `the database in ${dataDir} belongs to user id ${owner} and would run as ${who}; start Atelier as the user who made it`,
    )
  }
  const version = await readVersion(dataDir)
  if (version === postgresVersion) return 'ready'
  const fault = /^\d+$/.test(version)
    ? `was made by Postgres ${version} and this Atelier brings Postgres ${postgresVersion}`
    : 'is damaged: its PG_VERSION is missing or garbled'
  throw new AppError(
    'HOME_UNUSABLE',
    `the database in ${dataDir} ${fault}; restore the home from a backup, or move that directory away to start empty`,
  )
}

/** Makes an empty cluster whose superuser `postgres` has this password. Renamed into place: a cluster is whole or not there. Takes 0.7 s. */
export async function createCluster(
  { dataDir, user }: Cluster,
  { initdb, password, durable = true }: { initdb: string; password: string; durable?: boolean },
): Promise<void> {
  const staging = `${dataDir}.new`
  const passwordFile = `${dataDir}.password`
  await rm(staging, { recursive: true, force: true })
  await rm(passwordFile, { force: true })
  try {
    await mkdir(staging, { mode: 0o700 })
    await writeFile(passwordFile, password, { mode: 0o600, flag: 'wx' })
    if (user) for (const path of [staging, passwordFile]) await chown(path, user.uid, user.gid)
    await run(initdb, initdbArgs(staging, passwordFile, durable), {
      ...user,
      cwd: '/',
      env: { TZ: 'UTC', LC_ALL: 'C' },
    })
    await rename(staging, dataDir)
  } catch (cause) {
    await rm(staging, { recursive: true, force: true })
    throw new AppError('DATABASE_UNAVAILABLE', `initdb could not make a database in ${dataDir}: ${lastLines(cause)}`, {
      cause,
    })
  } finally {
    await rm(passwordFile, { force: true })
  }
}

function initdbArgs(dataDir: string, passwordFile: string, durable: boolean): string[] {
  return [
    `--pgdata=${dataDir}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth-local=scram-sha-256',
    '--auth-host=reject',
    '--encoding=UTF8',
    // The builtin provider sorts alike on every machine and needs no locale installed.
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--no-instructions',
    ...(durable ? [] : ['--no-sync']),
  ]
}

async function readVersion(dataDir: string): Promise<string> {
  try {
    return (await readFile(`${dataDir}/PG_VERSION`, 'utf8')).trim()
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return ''
    throw thrown
  }
}

async function ownerOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).uid
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw new AppError('HOME_UNUSABLE', `${dirname(path)} cannot be read (${messageOf(thrown)})`, { cause: thrown })
  }
}

function lastLines(thrown: unknown): string {
  const output = typeof thrown === 'object' && thrown && 'stderr' in thrown ? String(thrown.stderr) : ''
  return (output.trim() || messageOf(thrown)).split('\n').slice(-5).join('; ')
}
