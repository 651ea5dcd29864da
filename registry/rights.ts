import type { Db } from './sql.ts'

/** What a token is good for at most. */
export type Scope = 'admin' | 'deploy' | 'read'
/** `admin` of an app: its members and its end; of the platform: everything. `create`: new apps. */
export type Action = 'read' | 'deploy' | 'create' | 'admin'
/** What a person may do to one app. */
export type Role = 'owner' | 'deployer' | 'viewer'
/** admin: everything. member: may create apps, and owns those. guest: only what the roles on apps say. */
export type PlatformRole = 'admin' | 'member' | 'guest'

/** Who is asking: a token that stands alone, a person's token, or a person (`tokenId` null) who is signed in to the console. */
export type Caller = {
  tokenId: string | null
  /** As others see it: the person's name, else the token's. */
  name: string
  scope: Scope
  /** The one app a token is good for; null: no such limit. */
  limitedTo: string | null
  person: { id: string; platformRole: PlatformRole; roles: ReadonlyMap<string, Role> } | null
}

const actionsOfScope: Record<Scope, Action[]> = {
  admin: ['read', 'deploy', 'create', 'admin'],
  deploy: ['read', 'deploy', 'create'],
  read: ['read'],
}
const actionsOfRole: Record<Role, Action[]> = {
  owner: ['read', 'deploy', 'admin'],
  deployer: ['read', 'deploy'],
  viewer: ['read'],
}

/**
 * The one place that decides. `appId` null asks about the platform itself. A person's token is good for what both the token and the person
 * may; `create` and `admin` need a token that is not limited to one app.
 */
export function may(caller: Caller, action: Action, appId: string | null): boolean {
  return tokenMay(caller, action, appId) && personMay(caller, action, appId)
}

/** Whether the caller may do this to what is their own: tokens, sessions, a password. Only a token can be too narrow for that. */
export function mayToOwn({ scope, limitedTo }: Caller, action: Action): boolean {
  return actionsOfScope[scope].includes(action) && (limitedTo === null || isWithinApp(action))
}

/** The apps to which the caller may do this; null: all there are. */
export function appsWhere(caller: Caller, action: Action): string[] | null {
  if (!mayToOwn(caller, action)) return []
  const { person, limitedTo } = caller
  const apps = limitedTo === null ? [...(person?.roles.keys() ?? [])] : [limitedTo]
  if (limitedTo === null && (person === null || person.platformRole === 'admin')) return null
  return apps.filter((app) => may(caller, action, app))
}

/** Whether there is anything to which the caller may do this. Everybody may look, if only at nothing. */
export function mayAnywhere(caller: Caller, action: Action): boolean {
  const apps = appsWhere(caller, action)
  return apps === null || apps.length > 0 || (action === 'read' && mayToOwn(caller, 'read'))
}

export function isPlatformAdmin(caller: Caller): boolean {
  return may(caller, 'admin', null)
}

function tokenMay(caller: Caller, action: Action, appId: string | null): boolean {
  return mayToOwn(caller, action) && (caller.limitedTo === null || caller.limitedTo === appId)
}

function personMay({ person }: Caller, action: Action, appId: string | null): boolean {
  if (person === null || person.platformRole === 'admin') return true
  if (appId === null) return action === 'create' && person.platformRole === 'member'
  const role = person.roles.get(appId)
  return role !== undefined && actionsOfRole[role].includes(action)
}

function isWithinApp(action: Action): boolean {
  return action === 'read' || action === 'deploy'
}

/** A caller as it is read from the database. */
export type CallerRow = {
  tokenId: string | null
  tokenName: string | null
  scope: Scope | null
  appId: string | null
  personId: string | null
  personName: string | null
  platformRole: PlatformRole | null
  roles: Record<string, Role> | null
}

/** The columns of a person `p`, who may be null, in a select of callers. */
export function personColumns(sql: Db) {
  return sql`
    p.id as person_id, p.name as person_name, p.platform_role,
    (
      select json_object_agg(m.app_id, m.role)
      from members m
      where m.person_id = p.id
    ) as roles
  `
}

/** A session of a person has no token that would limit it. */
export function toCaller(row: CallerRow): Caller {
  const { tokenId, tokenName, scope, appId, personId, personName, platformRole, roles } = row
  const person =
    personId === null || platformRole === null
      ? null
      : { id: personId, platformRole, roles: new Map(Object.entries(roles ?? {})) }
  return { tokenId, name: personName ?? tokenName ?? '', scope: scope ?? 'admin', limitedTo: appId, person }
}
