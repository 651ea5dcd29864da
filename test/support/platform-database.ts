import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type Sql } from '../../registry/sql.ts'

/** A connection to the embedded Postgres of a platform's home, as the platform itself has it, or as its superuser. */
export async function connectToHome(home: string, role: 'atelier' | 'postgres' = 'atelier'): Promise<Sql> {
  const passwords: { atelier: string; postgres: string } = JSON.parse(
    await readFile(join(home, 'secrets/postgres.json'), 'utf8'),
  )
  const socketDir = encodeURIComponent(join(home, 'run/pg'))
  return connect(`postgres://${role}:${passwords[role]}@localhost/atelier?host=${socketDir}`, {
    max: 1,
    name: 'test',
  })
}

/** A connection to the Postgres of the apps in a platform's home, as its superuser. */
export async function connectToApps(home: string, database = 'postgres'): Promise<Sql> {
  const passwords: { appsPostgres: string } = JSON.parse(await readFile(join(home, 'secrets/postgres.json'), 'utf8'))
  const socketDir = encodeURIComponent(join(home, 'run/apps-pg'))
  return connect(`postgres://postgres:${passwords.appsPostgres}@localhost/${database}?host=${socketDir}`, {
    max: 1,
    name: 'test',
  })
}
