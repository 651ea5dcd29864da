import { type Actor, type Deed, recordDone } from './audit.ts'
import { createSession, type Session } from './console-sessions.ts'
import { AppError } from './errors.ts'
import type { Log } from './log.ts'
import { hashPassword, isPassword, refuseWeakPassword } from './passwords.ts'
import { findLink, readPassword, setPassword, useLink } from './people.ts'
import { countAttempt, forgetAttempts } from './sign-in-attempts.ts'
import type { Sql } from './sql.ts'

type Deps = { sql: Sql; log: Log; address: string | null }

/**
 * A session for the right name and password. The answer is the same, after the same work, whether the name or the password is wrong.
 * Throws UNAUTHENTICATED, SIGN_IN_LIMIT.
 */
export async function signInByPassword(given: { name: string; password: string }, deps: Deps): Promise<Session> {
  const { sql, log, address } = deps
  const name = given.name.toLowerCase()
  await countAttempt(sql, { name, address })
  const person = await readPassword(sql, name)
  const refuse = () => {
    log.warn({ name, address }, 'sign-in refused')
    return new AppError('UNAUTHENTICATED', 'this name and password do not belong together')
  }
  if (!(await isPassword(given.password, person?.password ?? null)) || !person) throw refuse()
  return sql.begin(async (tx) => {
    // A password that was replaced while it was looked at opens nothing any more.
    const [now] = await tx<{ password: string | null }[]>`select password from people where id = ${person.id} for share`
    if (now?.password !== person.password) throw refuse()
    const tried = await forgetAttempts(tx, name)
    const deed: Deed = { action: 'sign in', app: null, detail: { by: 'password', refused_before: tried - 1 } }
    await recordDone(tx, personActor({ personId: person.id, name }, address), deed)
    return createSession(tx, person.id)
  })
}

/**
 * Chooses a password with a one-time link, and signs in. Throws UNAUTHENTICATED; PASSWORD_WEAK, after which the link is still good;
 * SIGN_IN_LIMIT.
 */
export async function choosePassword(given: { code: string; password: string }, deps: Deps): Promise<Session> {
  const { sql, address } = deps
  const link = await findLink(sql, given.code)
  if (!link) throw linkIsGone()
  refuseWeakPassword(given.password, link.name)
  const kept = await hashPassword(given.password)
  return sql.begin(async (tx) => {
    if (!(await useLink(tx, given.code))) throw linkIsGone()
    await setPassword(tx, link.personId, kept)
    await recordDone(tx, personActor(link, address), { action: 'choose password', app: null, detail: { by: 'link' } })
    return createSession(tx, link.personId)
  })
}

/** Another password for somebody who has one; every session ends. Throws UNAUTHENTICATED, PASSWORD_WEAK, SIGN_IN_LIMIT. */
export async function changePassword(
  { name, current, password }: { name: string; current: string; password: string },
  { sql, address }: Omit<Deps, 'log'>,
): Promise<void> {
  refuseWeakPassword(password, name)
  await countAttempt(sql, { name, address })
  const person = await readPassword(sql, name)
  if (!(await isPassword(current, person?.password ?? null)) || !person)
    throw new AppError('PASSWORD_WRONG', 'that is not your password as it is now')
  const kept = await hashPassword(password)
  await sql.begin(async (tx) => {
    const [now] = await tx<
      { password: string | null }[]
    >`select password from people where id = ${person.id} for update`
    if (now?.password !== person.password)
      throw new AppError('PASSWORD_WRONG', 'that is not your password as it is now')
    await forgetAttempts(tx, name)
    await setPassword(tx, person.id, kept)
  })
}

export function linkIsGone(): AppError {
  return new AppError('UNAUTHENTICATED', 'this link was used already, replaced or is too old; ask for a new one')
}

function personActor({ personId, name }: { personId: string; name: string }, address: string | null): Actor {
  return { name, personId, tokenId: null, via: 'console', address }
}
