import { z } from '@hono/zod-openapi'
import { AppError } from '../errors.ts'
import { listMembers, type Member, removeMember, setMember } from '../members.ts'
import { findPerson, type Person } from '../people.ts'
import type { Sql } from '../sql.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { appName, personName, role } from './fields.ts'
import { route } from './route.ts'

const memberJson = z.object({ person: z.string(), role, since: z.string(), added_by: z.string() }).openapi('Member')
const ofApp = z.object({ app: appName })
const ofBoth = z.object({ app: appName, person: personName })

export const listMembersRoute = route({
  method: 'get',
  path: '/apps/{app}/members',
  summary: 'List the people who have a role on an app; admins of the platform need none',
  policy: { action: 'read', on: 'params' },
  params: ofApp,
  query: z.strictObject(pageQuery(500, 100)),
  answers: answersJson('a page of them, by name', z.object({ members: z.array(memberJson), next: nextField })),
  async handle({ query: { limit, cursor } }, { app, sql }) {
    const [after = null] = readCursor(cursor, z.tuple([personName])) ?? []
    const { shown, next } = pageOf(await listMembers(sql, app.id, { after, limit: limit + 1 }), limit, ({ name }) => [
      name,
    ])
    return Response.json({ members: shown.map(toJson), next })
  },
})

export const setMemberRoute = route({
  method: 'put',
  path: '/apps/{app}/members/{person}',
  summary: 'Give a person a role on an app, or another one; it counts at once, for their tokens too',
  policy: { action: 'admin', on: 'params' },
  params: ofBoth,
  body: z.strictObject({ role }),
  audit: (body) => body,
  answers: answersJson('the member', memberJson),
  async handle({ params, body }, { app, sql, caller, log }) {
    const person = await findKnown(sql, params.person)
    const member = await sql.begin((tx) =>
      setMember(tx, { app: app.id, personId: person.id, role: body.role, by: nameOf(caller) }),
    )
    log.info({ app: app.id, person: person.name, role: body.role, by: caller.name }, 'member set')
    return Response.json(toJson(member))
  },
})

export const removeMemberRoute = route({
  method: 'delete',
  path: '/apps/{app}/members/{person}',
  summary: 'Take a person’s role on an app; what their tokens and browsers hold open ends within five seconds',
  policy: { action: 'admin', on: 'params' },
  params: ofBoth,
  answers: answersNothing('they have no role on it any more'),
  async handle({ params }, { app, sql, caller, log }) {
    const person = await findKnown(sql, params.person)
    if (!(await sql.begin((tx) => removeMember(tx, { app: app.id, personId: person.id }))))
      throw new AppError('MEMBER_NOT_FOUND', `${person.name} has no role on ${app.id}; see: atelier members`)
    log.info({ app: app.id, person: person.name, by: caller.name }, 'member removed')
    return new Response(null, { status: 204 })
  },
})

/** Throws PERSON_NOT_FOUND. */
export async function findKnown(sql: Sql, name: string): Promise<Person> {
  const person = await findPerson(sql, name)
  if (!person)
    throw new AppError('PERSON_NOT_FOUND', `there is nobody called ${name}; an admin invites people: atelier people`)
  return person
}

function toJson({ name, role, since, addedBy }: Member): z.infer<typeof memberJson> {
  return { person: name, role, since: since.toISOString(), added_by: addedBy }
}
