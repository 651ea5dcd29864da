import { expect, test } from 'vitest'
import { refusalOf } from './refusals.ts'
import { type Action, type Caller, may, type PlatformRole, type Role, type Scope } from './rights.ts'

const person = (platformRole: PlatformRole, role: Role, scope: Scope = 'admin', limitedTo: string | null = null) => ({
  ...{ tokenId: 't', name: 'ada', scope, limitedTo },
  person: { id: 'ada', platformRole, roles: new Map([['hello', role]]) },
})
const alone = (scope: Scope, limitedTo: string | null = null) => ({
  ...{ tokenId: 't', name: 'ci', scope, limitedTo },
  person: null,
})

test.each<[string, Caller, Action, string | null, string]>([
  [
    'a viewer who deploys',
    person('guest', 'viewer'),
    'deploy',
    'hello',
    'ada may not do that: it takes the role deployer on hello, theirs is viewer; ask an owner (atelier members --app hello) or an admin',
  ],
  [
    'a deployer who wants what is for owners',
    person('member', 'deployer'),
    'admin',
    'hello',
    'ada may not do that: it takes the role owner on hello, theirs is deployer; ask an owner (atelier members --app hello) or an admin',
  ],
  [
    'a viewer whose token would not do either',
    person('guest', 'viewer', 'read'),
    'deploy',
    'hello',
    'ada may not do that: it takes the role deployer on hello, theirs is viewer; ask an owner (atelier members --app hello) or an admin',
  ],
  [
    'a deployer whose token only reads',
    person('guest', 'deployer', 'read'),
    'deploy',
    'hello',
    'this token of ada may not do that: its scope is read, not deploy; make another one: atelier tokens create <name> --scope deploy',
  ],
  [
    'an admin with a token of one app',
    person('admin', 'owner', 'admin', 'hello'),
    'admin',
    'hello',
    'this token of ada may not do that: it is for hello alone; make another one: atelier tokens create <name> --scope admin',
  ],
  [
    'a guest who makes an app',
    person('guest', 'owner'),
    'create',
    null,
    'ada may not do that: guests of this platform make no apps; ask an admin to make you a member',
  ],
  [
    'a guest whose token would not make an app either',
    person('guest', 'owner', 'read'),
    'create',
    null,
    'ada may not do that: guests of this platform make no apps; ask an admin to make you a member',
  ],
  [
    'a member whose token would not invite people either',
    person('member', 'owner', 'read'),
    'admin',
    null,
    'ada may not do that: it is for admins of this platform, and what concerns one app for its owners',
  ],
  [
    'an owner who invites people',
    person('member', 'owner'),
    'admin',
    null,
    'ada may not do that: it is for admins of this platform, and what concerns one app for its owners',
  ],
  [
    'a token that is nobody’s',
    alone('deploy'),
    'admin',
    'hello',
    'the token ci may not do that: its scope is deploy, not admin; make another one: atelier tokens create <name> --scope admin',
  ],
  [
    'a token of one app that makes another',
    alone('deploy', 'hello'),
    'create',
    null,
    'the token ci may not do that: it is for hello alone; make another one: atelier tokens create <name> --scope deploy',
  ],
])('C6: %s is told what lacks, and who may', (_, caller, action, app, said) => {
  expect(refusalOf(caller, action, app, (other) => may(other, action, app))).toBe(said)
})
