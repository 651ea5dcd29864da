import { z } from '@hono/zod-openapi'
import { addressOf } from '../actor.ts'
import { findApp } from '../apps.ts'
import { type Config, consoleUrl } from '../config.ts'
import { endSessionsOf } from '../console-sessions.ts'
import { AppError } from '../errors.ts'
import { listAppsOnlyOwnedBy, setMember } from '../members.ts'
import { changePassword } from '../password-sign-in.ts'
import { changePlatformRole, createPerson, createPersonLink, deletePerson, listPeople, type Person } from '../people.ts'
import type { Role } from '../rights.ts'
import type { Db } from '../sql.ts'
import { deleteTokensOf } from '../tokens.ts'
import { answersJson, answersNothing } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { appName, flag, personName, platformRole, role } from './fields.ts'
import { findKnown } from './members.ts'
import { route } from './route.ts'

const personJson = z
  .object({
    name: z.string(),
    platform_role: platformRole,
    roles: z.record(z.string(), role).openapi({ description: 'by app' }),
    has_password: z.boolean().openapi({ description: 'false: invited, and not come yet' }),
    created_at: z.string(),
    created_by: z.string(),
  })
  .openapi('Person')
const linkJson = z
  .object({ url: z.string().openapi({ description: 'good once, for this person alone' }), expires_at: z.string() })
  .openapi('PersonLink')
const ofPerson = z.object({ person: personName })

export const listPeopleRoute = route({
  method: 'get',
  path: '/people',
  summary: 'List people by name, with their roles',
  policy: { action: 'admin', on: 'platform' },
  query: z.strictObject(pageQuery(500, 100)),
  answers: answersJson('people', z.object({ people: z.array(personJson), next: nextField })),
  async handle({ query }, { sql }) {
    const [after = null] = readCursor(query.cursor, z.tuple([personName])) ?? []
    const people = await listPeople(sql, { after, limit: query.limit + 1 })
    const { shown, next } = pageOf(people, query.limit, ({ name }) => [name])
    return Response.json({ people: shown.map((person) => toJson(person, person.roles ?? {})), next })
  },
})

export const invitePersonRoute = route({
  method: 'post',
  path: '/people',
  summary:
    'Invite a person: the answer holds a one-time link with which they, and nobody under another name, choose a password',
  policy: { action: 'admin', on: 'platform' },
  body: z.strictObject({
    name: personName,
    platform_role: platformRole.default('member'),
    roles: z.record(appName, role).default({}).openapi({ description: 'by app' }),
  }),
  audit: (body) => body,
  answers: answersJson('the person and their link', z.object({ person: personJson, link: linkJson })),
  async handle({ body }, { sql, caller, config, log }) {
    const by = nameOf(caller)
    const { person, link } = await sql.begin(async (tx) => {
      const person = await createPerson(tx, { name: body.name, platformRole: body.platform_role, by })
      await giveRoles(tx, person, body.roles, by)
      return { person, link: await createPersonLink(tx, person.id) }
    })
    log.info({ person: person.name, role: person.platformRole, by: caller.name }, 'person invited')
    return Response.json(
      { person: toJson(person, body.roles), link: linkToJson(link, config) },
      { headers: { 'cache-control': 'no-store' } },
    )
  },
})

export const createPersonLinkRoute = route({
  method: 'post',
  path: '/people/{person}/links',
  summary: 'Make a new one-time link with which a person chooses a password; the links before it end',
  policy: { action: 'admin', on: 'platform' },
  params: ofPerson,
  answers: answersJson('the link', linkJson),
  async handle({ params }, { sql, caller, config, log }) {
    const person = await findKnown(sql, params.person)
    const link = await sql.begin((tx) => createPersonLink(tx, person.id))
    log.info({ person: person.name, by: caller.name }, 'link for a password made')
    return Response.json(linkToJson(link, config), { headers: { 'cache-control': 'no-store' } })
  },
})

export const setPersonRoute = route({
  method: 'put',
  path: '/people/{person}',
  summary: 'Make a person an admin of the platform, a member who may create apps, or a guest',
  policy: { action: 'admin', on: 'platform' },
  params: ofPerson,
  body: z.strictObject({ platform_role: platformRole }),
  audit: (body) => body,
  answers: answersNothing('it counts from now on'),
  async handle({ params, body }, { sql, caller, log }) {
    const person = await findKnown(sql, params.person)
    await sql.begin((tx) => changePlatformRole(tx, person, body.platform_role))
    log.info({ person: person.name, role: body.platform_role, by: caller.name }, 'person changed')
    return new Response(null, { status: 204 })
  },
})

export const deletePersonRoute = route({
  method: 'delete',
  path: '/people/{person}',
  summary: 'Remove a person with their roles, tokens and sessions; what they did stays in the audit log',
  policy: { action: 'admin', on: 'platform' },
  params: ofPerson,
  query: z.strictObject({
    ownerless: flag.default(false).openapi({ description: 'true: also when apps are left without an owner' }),
  }),
  answers: answersNothing('they are gone, and what they held open ends within five seconds'),
  async handle({ params, query }, { sql, caller, log }) {
    const person = await findKnown(sql, params.person)
    await sql.begin(async (tx) => {
      const left = await listAppsOnlyOwnedBy(tx, person.id)
      if (left.length > 0 && !query.ownerless)
        throw new AppError(
          'LAST_OWNER',
          `${person.name} is the only owner of ${left.join(', ')}; make somebody else one (atelier members set), or leave them to the admins: --ownerless`,
        )
      await deletePerson(tx, person)
    })
    log.info({ person: person.name, by: caller.name }, 'person removed')
    return new Response(null, { status: 204 })
  },
})

export const endSessionsRoute = route({
  method: 'delete',
  path: '/people/{person}/sessions',
  summary: 'Sign a person out of every browser',
  policy: { action: 'admin', on: 'platform' },
  params: ofPerson,
  answers: answersJson('of how many', z.object({ ended: z.number() })),
  async handle({ params }, { sql }) {
    const person = await findKnown(sql, params.person)
    return Response.json({ ended: await endSessionsOf(sql, person.id) })
  },
})

export const endTokensRoute = route({
  method: 'delete',
  path: '/people/{person}/tokens',
  summary: 'Delete all tokens of a person; streams they hold open end within five seconds',
  policy: { action: 'admin', on: 'platform' },
  params: ofPerson,
  answers: answersJson('how many', z.object({ ended: z.number() })),
  async handle({ params }, { sql, caller, log }) {
    const person = await findKnown(sql, params.person)
    const ended = await deleteTokensOf(sql, person.id)
    log.info({ person: person.name, ended, by: caller.name }, 'all tokens of a person deleted')
    return Response.json({ ended })
  },
})

export const changePasswordRoute = route({
  method: 'post',
  path: '/password',
  summary: 'Choose another password; every browser is signed out, this one too, and tokens stay',
  policy: { action: 'admin', on: 'own' },
  body: z.strictObject({ current: z.string().min(1).max(1024), password: z.string().min(1).max(1024) }),
  answers: answersNothing('sign in with it from now on'),
  async handle({ body }, { sql, caller, request }) {
    if (!caller.person) throw new AppError('REQUEST_INVALID', 'this token is nobody’s, and only people have passwords')
    const address = addressOf(request.headers.get('x-forwarded-for'))
    await changePassword({ name: caller.name, ...body }, { sql, address })
    return new Response(null, { status: 204 })
  },
})

async function giveRoles(tx: Db, person: Person, roles: Record<string, Role>, by: string): Promise<void> {
  for (const [app, role] of Object.entries(roles)) {
    if (!(await findApp(tx, app))) throw new AppError('APP_NOT_FOUND', `there is no app ${app}; see: atelier apps`)
    await setMember(tx, { app, personId: person.id, role, by })
  }
}

// In the fragment, which browsers keep to themselves; below the console's own address, whatever name this request came under.
function linkToJson({ code, expiresAt }: { code: string; expiresAt: Date }, config: Config): z.infer<typeof linkJson> {
  return { url: `${consoleUrl(config)}/#welcome=${code}`, expires_at: expiresAt.toISOString() }
}

function toJson(person: Person, roles: Record<string, Role>): z.infer<typeof personJson> {
  return {
    name: person.name,
    platform_role: person.platformRole,
    roles,
    has_password: person.hasPassword,
    created_at: person.createdAt.toISOString(),
    created_by: person.createdBy,
  }
}
