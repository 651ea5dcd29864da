import { networkOf } from './actor.ts'
import { AppError } from './errors.ts'
import type { Db, Sql } from './sql.ts'

/** In that time, so many passwords may be tried for one name, and so many from one address. */
const windowMin = 15
const limits = { name: 10, address: 50 }

/**
 * Counts an attempt before its password is looked at, so that none that is made at the same time goes uncounted. What is turned away does
 * not count: whoever waits gets in. Throws SIGN_IN_LIMIT.
 */
export async function countAttempt(
  sql: Sql,
  { name, address }: { name: string; address: string | null },
): Promise<void> {
  const subjects = { name: ofName(name), address: `address:${address === null ? '' : networkOf(address)}` }
  await sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(7283645, hashtext(${subjects.name}))`
    await tx`select pg_advisory_xact_lock(7283646, hashtext(${subjects.address}))`
    await tx`delete from sign_in_attempts where at < now() - make_interval(mins => ${windowMin})`
    const [tried] = await tx<{ name: number; address: number }[]>`
      select count(*) filter (where subject = ${subjects.name})::integer as name,
             count(*) filter (where subject = ${subjects.address})::integer as address
      from sign_in_attempts
      where subject in (${subjects.name}, ${subjects.address})
    `
    if (tried && (tried.name >= limits.name || tried.address >= limits.address))
      throw new AppError(
        'SIGN_IN_LIMIT',
        `too many passwords were tried; try again in ${windowMin} minutes, or with a sign-in link`,
      )
    await tx`
      insert into sign_in_attempts (subject)
      values (${subjects.name}), (${subjects.address})
    `
  })
}

/** After the right password: the name starts anew. Returns how many attempts there were. */
export async function forgetAttempts(sql: Db, name: string): Promise<number> {
  const forgotten = await sql`delete from sign_in_attempts where subject = ${ofName(name)} returning 1`
  return forgotten.length
}

function ofName(name: string): string {
  return `name:${name}`
}
