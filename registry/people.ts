import { createHash, randomBytes } from 'node:crypto'
import { endSessionsOf } from './console-sessions.ts'
import { AppError, codeOf } from './errors.ts'
import { newId } from './ids.ts'
import type { PlatformRole, Role } from './rights.ts'
import type { Db } from './sql.ts'

export type Person = {
  id: string
  /** What they sign in with, and what others see. */
  name: string
  platformRole: PlatformRole
  hasPassword: boolean
  createdAt: Date
  createdBy: string
}

/** How long a link to choose a password with can be used. */
const linkHours = 72
const nameRule = /^[a-z0-9][a-z0-9._@+-]{0,62}$/

/** Throws PERSON_NAME_ILLEGAL, NAME_TAKEN. */
export async function createPerson(
  sql: Db,
  { name, platformRole, by }: { name: string; platformRole: PlatformRole; by: string },
): Promise<Person> {
  if (!nameRule.test(name))
    throw new AppError(
      'PERSON_NAME_ILLEGAL',
      `${JSON.stringify(name)} cannot be a person's name: 1 to 63 of a-z, 0-9 and ._@+-, a letter or digit first`,
    )
  try {
    const [person] = await sql<Person[]>`
      insert into people (id, name, platform_role, created_by)
      values (${newId()}, ${name}, ${platformRole}, ${by})
      returning id, name, platform_role, false as has_password, created_at, created_by
    `
    if (!person) throw new AppError('INTERNAL', 'creating a person returned no row')
    return person
  } catch (thrown) {
    if (codeOf(thrown) !== '23505') throw thrown
    throw new AppError('NAME_TAKEN', `there is a person called ${name} already; see: atelier people`, { cause: thrown })
  }
}

export async function findPerson(sql: Db, name: string): Promise<Person | null> {
  const [person] = await sql<Person[]>`
    select id, name, platform_role, password is not null as has_password, created_at, created_by
    from people
    where name = ${name}
  `
  return person ?? null
}

export async function readPassword(sql: Db, name: string): Promise<{ id: string; password: string | null } | null> {
  const [person] = await sql<
    { id: string; password: string | null }[]
  >`select id, password from people where name = ${name}`
  return person ?? null
}

/** By name, those after that one. */
export async function listPeople(
  sql: Db,
  { after, limit }: { after: string | null; limit: number },
): Promise<(Person & { roles: Record<string, Role> | null })[]> {
  return sql<(Person & { roles: Record<string, Role> | null })[]>`
    select p.id, p.name, p.platform_role, p.password is not null as has_password, p.created_at, p.created_by,
           (
             select json_object_agg(m.app_id, m.role)
             from members m
             where m.person_id = p.id
           ) as roles
    from people p
    where ${after}::text is null or p.name > ${after}
    order by p.name
    limit ${limit}
  `
}

/** In a transaction. Throws LAST_ADMIN: people of whom none is an admin would have to go to the server. */
export async function changePlatformRole(tx: Db, person: Person, platformRole: PlatformRole): Promise<void> {
  if (platformRole !== 'admin') await refuseLastAdmin(tx, person)
  await tx`
    update people
    set platform_role = ${platformRole}
    where id = ${person.id}
  `
}

/** With their roles, tokens, sessions and links. In a transaction. Throws LAST_ADMIN. */
export async function deletePerson(tx: Db, person: Person): Promise<void> {
  await refuseLastAdmin(tx, person)
  await tx`delete from people where id = ${person.id}`
}

// Two admins who remove each other at the same time meet here.
async function refuseLastAdmin(tx: Db, { id, name }: Person): Promise<void> {
  const admins = await tx<{ id: string }[]>`
    select id
    from people
    where platform_role = 'admin'
    order by id
    for update
  `
  if (admins.length === 1 && admins[0]?.id === id)
    throw new AppError('LAST_ADMIN', `${name} is the last admin; make somebody else one first: atelier people role`)
}

/** A link's code with which this person, and nobody else, chooses a password, once; those made before it end. */
export async function createPersonLink(sql: Db, personId: string): Promise<{ code: string; expiresAt: Date }> {
  const code = randomBytes(32).toString('base64url')
  await sql`delete from person_links where person_id = ${personId} or expires_at < now()`
  const [link] = await sql<{ expiresAt: Date }[]>`
    insert into person_links (code_sha256, person_id, expires_at)
    values (${hashOf(code)}, ${personId}, now() + make_interval(hours => ${linkHours}))
    returning expires_at
  `
  if (!link) throw new AppError('INTERNAL', 'creating a link returned no row')
  return { code, expiresAt: link.expiresAt }
}

/** Whose link it is; null: unknown, used, replaced or too old. */
export async function findLink(sql: Db, code: string): Promise<{ personId: string; name: string } | null> {
  const [found] = await sql<{ personId: string; name: string }[]>`
    select l.person_id, p.name
    from person_links l
    join people p on p.id = l.person_id
    where l.code_sha256 = ${hashOf(code)}
      and l.expires_at > now()
  `
  return found ?? null
}

/** Uses a link up. False: somebody else did just now. */
export async function useLink(tx: Db, code: string): Promise<boolean> {
  const used = await tx`delete from person_links where code_sha256 = ${hashOf(code)} and expires_at > now() returning 1`
  return used.length === 1
}

/**
 * A new password (as it is kept) ends what the old one had begun: every session, in every browser. Tokens stay, as they do at GitHub and GitLab: they
 * were never made of the password, and programs live by them (`deleteTokensOf`). In a transaction.
 */
export async function setPassword(tx: Db, personId: string, kept: string): Promise<void> {
  await tx`
    update people
    set password = ${kept}
    where id = ${personId}
  `
  await tx`delete from person_links where person_id = ${personId}`
  await endSessionsOf(tx, personId)
}

function hashOf(code: string): Buffer {
  return createHash('sha256').update(code).digest()
}
