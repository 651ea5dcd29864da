import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type Sql } from '../../registry/sql.ts'

/** A connection to the embedded Postgres of a platform's home, as the platform itself has it. */
export async function connectToHome(home: string): Promise<Sql> {
  const passwords: { atelier: string } = JSON.parse(await readFile(join(home, 'secrets/postgres.json'), 'utf8'))
  const socketDir = encodeURIComponent(join(home, 'run/pg'))
  return connect(`postgres://atelier:${passwords.atelier}@localhost/atelier?host=${socketDir}`, {
    max: 1,
    name: 'test',
  })
}
