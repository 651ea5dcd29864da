import { type Action, type Caller, mayToOwn, type Role, type Scope } from './rights.ts'

/**
 * Why the caller may not do this to an app they may look at, or (null) to the platform, and who may: a sentence for them. A token is to blame only
 * when its person may (`permits` is what refused the caller): else they would make a wider one and be refused again.
 */
export function refusalOf(
  caller: Caller,
  action: Action,
  appId: string | null,
  permits: (caller: Caller) => boolean,
): string {
  const { name, person } = caller
  const isOfTheirs = permits({ ...caller, scope: 'admin', limitedTo: null })
  if (mayToOwn(caller, action) || !isOfTheirs) return `${name} may not do that: ${whoMay(caller, action, appId)}`
  return `${person ? `this token of ${name}` : `the token ${name}`} may not do that: ${tokenFor(caller, action)}`
}

const scopes: Record<Action, Scope> = { read: 'read', deploy: 'deploy', create: 'deploy', admin: 'admin' }
const rolesOnApps: Record<Action, Role> = { read: 'viewer', deploy: 'deployer', create: 'owner', admin: 'owner' }

function tokenFor({ scope, limitedTo }: Caller, action: Action): string {
  const needed = scopes[action]
  const isWideEnough = scope === 'admin' || scope === needed
  const lack = isWideEnough ? `it is for ${limitedTo} alone` : `its scope is ${scope}, not ${needed}`
  return `${lack}; make another one: atelier tokens create <name> --scope ${needed}`
}

function whoMay({ person }: Caller, action: Action, appId: string | null): string {
  const role = appId === null ? undefined : person?.roles.get(appId)
  if (role)
    return `it takes the role ${rolesOnApps[action]} on ${appId}, theirs is ${role}; ask an owner (atelier members --app ${appId}) or an admin`
  if (action === 'create') return 'guests of this platform make no apps; ask an admin to make you a member'
  if (action === 'deploy') return 'it takes the role deployer on an app; ask an owner of it, or an admin'
  return 'it is for admins of this platform, and what concerns one app for its owners'
}
