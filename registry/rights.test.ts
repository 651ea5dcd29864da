import { describe, expect, test } from 'vitest'
import {
  type Action,
  appsWhere,
  type Caller,
  may,
  mayAnywhere,
  type PlatformRole,
  type Role,
  type Scope,
} from './rights.ts'

const actions: Action[] = ['read', 'deploy', 'create', 'admin']
const allowedTo = (caller: Caller, about: string | null) => actions.filter((action) => may(caller, action, about))

describe('a token that stands alone', () => {
  test.each<[Scope, string | null, string | null, Action[]]>([
    ['admin', null, null, ['read', 'deploy', 'create', 'admin']],
    ['admin', null, 'hello', ['read', 'deploy', 'create', 'admin']],
    ['deploy', null, 'hello', ['read', 'deploy', 'create']],
    ['read', null, 'hello', ['read']],
    ['admin', 'hello', 'hello', ['read', 'deploy']],
    ['deploy', 'hello', 'hello', ['read', 'deploy']],
    ['read', 'hello', 'hello', ['read']],
    ['admin', 'hello', 'other', []],
    ['deploy', 'hello', 'other', []],
    ['deploy', 'hello', null, []],
  ])('%s limited to %s, asked about %s, may %j', (scope, limitedTo, about, allowed) => {
    expect(allowedTo({ tokenId: 't', name: 't', scope, limitedTo, person: null }, about)).toEqual(allowed)
  })
})

const roles = new Map<string, Role>([
  ['mine', 'owner'],
  ['ours', 'deployer'],
  ['theirs', 'viewer'],
])
const ada = (platformRole: PlatformRole, scope: Scope = 'admin', limitedTo: string | null = null): Caller => ({
  tokenId: 't',
  name: 'ada',
  scope,
  limitedTo,
  person: { id: 'p', platformRole, roles },
})

describe('a person', () => {
  test.each<[string, Action[]]>([
    ['mine', ['read', 'deploy', 'admin']],
    ['ours', ['read', 'deploy']],
    ['theirs', ['read']],
    ['nobodys', []],
    // Names that every object has.
    ['constructor', []],
    ['toString', []],
  ])('may to the app %s: %j', (app, allowed) => {
    expect(allowedTo(ada('member'), app)).toEqual(allowed)
    expect(allowedTo(ada('guest'), app)).toEqual(allowed)
    expect(allowedTo(ada('admin'), app)).toEqual(actions)
  })

  test('may create apps as a member, rule the platform as an admin, and neither as a guest', () => {
    expect(allowedTo(ada('guest'), null)).toEqual([])
    expect(allowedTo(ada('member'), null)).toEqual(['create'])
    expect(allowedTo(ada('admin'), null)).toEqual(actions)
  })

  test('has tokens that never reach further than both', () => {
    expect(allowedTo(ada('member', 'read'), 'mine')).toEqual(['read'])
    expect(allowedTo(ada('member', 'deploy'), 'mine')).toEqual(['read', 'deploy'])
    expect(allowedTo(ada('member', 'deploy'), 'theirs')).toEqual(['read'])
    expect(allowedTo(ada('member', 'admin', 'mine'), 'mine')).toEqual(['read', 'deploy'])
    expect(allowedTo(ada('member', 'admin', 'mine'), 'ours')).toEqual([])
    expect(allowedTo(ada('admin', 'deploy'), null)).toEqual(['read', 'deploy', 'create'])
    expect(allowedTo(ada('guest', 'deploy'), null)).toEqual([])
  })

  test('sees the apps that some role lets them see, and an admin all of them', () => {
    expect(appsWhere(ada('member'), 'read')).toEqual(['mine', 'ours', 'theirs'])
    expect(appsWhere(ada('member'), 'deploy')).toEqual(['mine', 'ours'])
    expect(appsWhere(ada('member'), 'admin')).toEqual(['mine'])
    expect(appsWhere(ada('member', 'deploy', 'theirs'), 'deploy')).toEqual([])
    expect(appsWhere(ada('member', 'deploy', 'nobodys'), 'read')).toEqual([])
    expect(appsWhere(ada('admin'), 'admin')).toBeNull()
    expect(appsWhere(ada('admin', 'deploy', 'nobodys'), 'read')).toEqual(['nobodys'])
    expect(mayAnywhere(ada('member'), 'admin')).toBe(true)
    expect(mayAnywhere(ada('member', 'deploy'), 'admin')).toBe(false)
  })
})
