import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedPostgres, postgresUrl } from '../../cli/up/postgres.ts'
import { endLeftover } from '../../cli/up/postmaster.ts'
import { migrate } from '../../registry/migrate.ts'
import { connect } from '../../registry/sql.ts'

/** Copied by every createDatabase(). */
export const templateName = 'atelier_template'
const prefix = 'atelier-test-'

/** One Postgres for a whole test run, in memory where there is a tmpfs, without fsync; its migrated template is copied for each test file. */
export async function startTestPostgres(): Promise<{ url: string; close(): Promise<void> }> {
  const root = await fastDirectory()
  await removeAbandoned(root)
  const home = await mkdtemp(join(root, `${prefix}${process.pid}-`))
  // Postgres runs as another user when the tests run as root, and must reach its directories.
  await chmod(home, 0o711)
  const password = randomBytes(16).toString('hex')
  const postgres = await EmbeddedPostgres.start({
    dataDir: join(home, 'postgres'),
    socketDir: join(home, 'pg'),
    logFile: join(home, 'postgres.log'),
    copyDir: join(home, 'runtime'),
    password,
    durable: false,
  })
  const urlOf = (database: string) => postgresUrl({ socketDir: join(home, 'pg'), role: 'postgres', password, database })
  await makeTemplate(urlOf)
  return {
    url: urlOf('postgres'),
    close: async () => {
      await postgres.stop({ hurry: true })
      await rm(home, { recursive: true, force: true })
    },
  }
}

async function makeTemplate(urlOf: (database: string) => string): Promise<void> {
  await using admin = closing(connect(urlOf('postgres'), { max: 1 }))
  await admin.sql`create database ${admin.sql(templateName)}`
  await using template = closing(connect(urlOf(templateName), { max: 1 }))
  await migrate(template.sql)
}

function closing<T extends { end(): Promise<void> }>(sql: T) {
  return { sql, [Symbol.asyncDispose]: () => sql.end() }
}

async function fastDirectory(): Promise<string> {
  const memory = await stat('/dev/shm').catch(() => null)
  return memory?.isDirectory() ? '/dev/shm' : tmpdir()
}

// A run that was killed could not clean up; its process id is in the name.
async function removeAbandoned(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const pid = Number(name.startsWith(prefix) ? name.slice(prefix.length).split('-')[0] : Number.NaN)
    if (Number.isNaN(pid) || isAlive(pid)) continue
    await endLeftover(join(root, name, 'postgres'))
    await rm(join(root, name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'EPERM'
  }
}
