import { AppError } from './errors.ts'
import type { Role } from './rights.ts'
import type { Db } from './sql.ts'

export type Member = { personId: string; name: string; role: Role; since: Date; addedBy: string }

/** By name, those after that one. `limit` null: without end. */
export async function listMembers(
  sql: Db,
  app: string,
  { after = null, limit = null }: { after?: string | null; limit?: number | null } = {},
): Promise<Member[]> {
  return sql<Member[]>`
    select m.person_id, p.name, m.role, m.since, m.added_by
    from members m
    join people p on p.id = m.person_id
    where m.app_id = ${app}
      and (${after}::text is null or p.name > ${after})
    order by p.name
    limit ${limit}
  `
}

/** Gives a person a role on an app, or another one. In a transaction. Throws LAST_OWNER. */
export async function setMember(
  tx: Db,
  { app, personId, role, by }: { app: string; personId: string; role: Role; by: string },
): Promise<Member> {
  if (role !== 'owner') await refuseLastOwner(tx, app, personId)
  const [member] = await tx<Member[]>`
    insert into members (app_id, person_id, role, added_by)
    values (${app}, ${personId}, ${role}, ${by})
    on conflict (person_id, app_id) do update
    set role = excluded.role, added_by = excluded.added_by, since = now()
    returning person_id, (select name from people where id = person_id) as name, role, since, added_by
  `
  if (!member) throw new AppError('INTERNAL', 'setting a member returned no row')
  return member
}

/** In a transaction. False: they had no role. Throws LAST_OWNER. */
export async function removeMember(tx: Db, { app, personId }: { app: string; personId: string }): Promise<boolean> {
  await refuseLastOwner(tx, app, personId)
  const removed = await tx`delete from members where app_id = ${app} and person_id = ${personId} returning 1`
  return removed.length === 1
}

/** Apps that would be nobody's without this person. In a transaction: of two owners who go at the same time, one stays. */
export async function listAppsOnlyOwnedBy(tx: Db, personId: string): Promise<string[]> {
  const owned = await tx<{ appId: string }[]>`
    select app_id
    from members
    where person_id = ${personId}
      and role = 'owner'
    order by app_id
  `
  const ownerless: string[] = []
  for (const { appId } of owned) if (await isLastOwner(tx, appId, personId)) ownerless.push(appId)
  return ownerless
}

async function refuseLastOwner(tx: Db, app: string, personId: string): Promise<void> {
  if (await isLastOwner(tx, app, personId))
    throw new AppError('LAST_OWNER', `${app} has no other owner; make somebody else one first: atelier members set`)
}

// Owners who remove each other at the same time wait here for one another.
async function isLastOwner(tx: Db, app: string, personId: string): Promise<boolean> {
  await tx`
    select id
    from apps
    where id = ${app}
    for no key update
  `
  const owners = await tx<{ personId: string }[]>`
    select person_id
    from members
    where app_id = ${app}
      and role = 'owner'
  `
  return owners.length === 1 && owners[0]?.personId === personId
}
