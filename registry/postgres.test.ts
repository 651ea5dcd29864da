import { expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { codeOf } from './errors.ts'
import { connect } from './sql.ts'

test('F6: a connection that is lost under a transaction fails it, and ends neither the process nor the pool', async () => {
  await using database = await createDatabase()
  const sql = connect(database.url, { max: 1 })
  for (let round = 0; round < 3; round++) {
    const transaction = sql.begin(async (tx) => {
      const [{ pid } = { pid: 0 }] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`
      await database.sql`select pg_terminate_backend(${pid})`
      await expect.poll(() => tx`select 1`.then(() => 'answered', codeOf)).toBe('CONNECTION_CLOSED')
      return tx`select 2`
    })
    await expect(transaction).rejects.toThrow()
    await expect.poll(() => sql`select 1 as one`.catch(String)).toEqual([{ one: 1 }])
  }
  await sql.end()
})
