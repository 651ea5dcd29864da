import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { createApp, findApp } from '../apps.ts'
import { newId } from '../ids.ts'
import { findPerson } from '../people.ts'
import { authenticate } from '../tokens.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let admin: string
beforeAll(async () => {
  admin = await plane.token('admin')
})
const code = (answer: { json: unknown }) => (answer.json as { error: { code: string } }).error.code
const invite = (json: Record<string, unknown>, how: { host?: string; headers?: Record<string, string> } = {}) =>
  plane.ask('POST', 'people', { token: admin, json, ...how })

describe('C9: a link to choose a password', () => {
  test('lies below the address of the configuration, whatever name and headers the request came with', async () => {
    const name = newId()
    const forged = { 'x-forwarded-host': 'evil.example', forwarded: 'host=evil.example', origin: 'http://evil.example' }
    const { json } = await invite({ name }, { host: 'API.localhost:9999', headers: forged })
    expect((json as { link: { url: string } }).link.url).toMatch(
      /^http:\/\/console\.localhost:8080\/#welcome=[\w-]{43}$/,
    )
    expect((await invite({ name: newId() }, { host: 'evil.example' })).status).toBe(421)
    const again = await plane.ask('POST', `people/${name}/links`, { token: admin, headers: forged })
    expect((again.json as { url: string }).url).toMatch(/^http:\/\/console\.localhost:8080\/#welcome=[\w-]{43}$/)
  })

  test('is shown to who made it, once, and to nobody by any route; what is kept does not open anything', async () => {
    const app = await plane.app()
    const name = newId()
    const { json } = await invite({ name, roles: { [app]: 'deployer' } })
    const secret = new URL((json as { link: { url: string } }).link.url).hash.replace('#welcome=', '')
    const owner = await (await plane.person('member', { [app]: 'owner' })).token()
    for (const token of [owner, admin])
      for (const path of ['people', `apps/${app}/members`, 'audit', 'tokens', 'whoami', 'status'])
        expect((await plane.ask('GET', path, { token })).text).not.toContain(secret)
    expect(code(await plane.ask('POST', `people/${name}/links`, { token: owner }))).toBe('FORBIDDEN')
    const rows = await plane.sql<{ row: string }[]>`select person_links::text as row from person_links`
    expect(JSON.stringify(rows)).not.toContain(secret)
  })
})

describe('people', () => {
  test('are invited with roles, listed, changed and removed', async () => {
    const app = await plane.app()
    const name = `ada-${newId()}`
    expect((await invite({ name, platform_role: 'guest', roles: { [app]: 'viewer' } })).json).toMatchObject({
      person: {
        name,
        platform_role: 'guest',
        roles: { [app]: 'viewer' },
        has_password: false,
        created_by: 'admin-all',
      },
    })
    expect(code(await invite({ name }))).toBe('NAME_TAKEN')
    const change = await plane.ask('PUT', `people/${name}`, { token: admin, json: { platform_role: 'member' } })
    expect(change.status).toBe(204)
    const cursor = Buffer.from(JSON.stringify([name.slice(0, -1)])).toString('base64url')
    const { json } = await plane.ask('GET', `people?limit=1&cursor=${cursor}`, { token: admin })
    expect(json).toMatchObject({ people: [{ name, platform_role: 'member', roles: { [app]: 'viewer' } }] })
    expect((await plane.ask('DELETE', `people/${name}`, { token: admin })).status).toBe(204)
    expect(await findPerson(plane.sql, name)).toBeNull()
    expect(code(await plane.ask('DELETE', `people/${name}`, { token: admin }))).toBe('PERSON_NOT_FOUND')
  })

  test.each(['Ada', 'a b', '-a', 'a'.repeat(64), 'ada\u202e', '$(id)', 'ä', ''])('%j is no name', async (name) => {
    expect((await invite({ name })).status).toBe(400)
  })

  test('an invitation to an app that is not there makes nobody', async () => {
    const name = newId()
    expect(code(await invite({ name, roles: { nosuchapp: 'owner' } }))).toBe('APP_NOT_FOUND')
    expect(await findPerson(plane.sql, name)).toBeNull()
  })

  test('the last admin stays one, and of two who remove each other at the same time one is left', async () => {
    await plane.sql`update people set platform_role = 'guest'`
    const [one, two] = [await plane.person('admin'), await plane.person('admin')]
    const answers = await Promise.all([
      plane.ask('DELETE', `people/${one.name}`, { token: admin }),
      plane.ask('DELETE', `people/${two.name}`, { token: admin }),
    ])
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 409])
    const left = answers[0]?.status === 409 ? one : two
    const demote = { token: admin, json: { platform_role: 'member' } }
    expect(code(await plane.ask('PUT', `people/${left.name}`, demote))).toBe('LAST_ADMIN')
    await plane.person('admin')
    expect((await plane.ask('PUT', `people/${left.name}`, demote)).status).toBe(204)
  })

  test('whoever creates an app owns it', async () => {
    const ada = await plane.person('member')
    const name = `a${newId()}`
    expect((await plane.ask('POST', 'apps', { token: await ada.token('deploy'), json: { name } })).status).toBe(200)
    const members = await plane.ask('GET', `apps/${name}/members`, { token: await ada.token('read') })
    expect(members.json).toMatchObject({ members: [{ person: ada.name, role: 'owner' }] })
    expect((await findApp(plane.sql, name))?.createdBy).toBe(ada.name)
  })
})

describe('members', () => {
  test('the last owner of an app stays, and of two who remove each other at the same time one is left', async () => {
    const app = await plane.app()
    const [one, two] = [
      await plane.person('guest', { [app]: 'owner' }),
      await plane.person('guest', { [app]: 'owner' }),
    ]
    const answers = await Promise.all([
      plane.ask('DELETE', `apps/${app}/members/${two.name}`, { token: await one.token() }),
      plane.ask('DELETE', `apps/${app}/members/${one.name}`, { token: await two.token() }),
    ])
    const statuses = answers.map(({ status }) => status)
    expect(statuses).toContain(204)
    expect(statuses.filter((status) => status === 204)).toHaveLength(1)
    const left = statuses[0] === 204 ? one : two
    const demote = await plane.ask('PUT', `apps/${app}/members/${left.name}`, {
      token: admin,
      json: { role: 'viewer' },
    })
    expect(code(demote)).toBe('LAST_OWNER')
    expect(code(await plane.ask('DELETE', `people/${left.name}`, { token: admin }))).toBe('LAST_OWNER')
    expect((await plane.ask('DELETE', `people/${left.name}?ownerless=true`, { token: admin })).status).toBe(204)
  })

  test('a role that is taken is gone from the next request of every token', async () => {
    const app = await plane.app()
    const ada = await plane.person('guest', { [app]: 'deployer' })
    const [deploying, limited] = [await ada.token('deploy'), await ada.token('deploy', app)]
    const lock = (token: string) => plane.ask('POST', 'lock', { token, json: { app_id: app, message: 'x' } })
    expect((await lock(deploying)).status).toBe(200)
    expect((await lock(limited)).status).toBe(200)
    await plane.ask('PUT', `apps/${app}/members/${ada.name}`, { token: admin, json: { role: 'viewer' } })
    expect((await lock(deploying)).status).toBe(403)
    expect((await lock(limited)).status).toBe(403)
    await plane.ask('DELETE', `apps/${app}/members/${ada.name}`, { token: admin })
    expect((await lock(deploying)).status).toBe(404)
    expect((await plane.ask('GET', 'apps', { token: limited })).json).toEqual({ apps: [], next: null })
    expect((await plane.ask('GET', 'status', { token: deploying })).json).toMatchObject({ apps: [] })
    expect((await plane.ask('GET', 'deploys', { token: deploying })).json).toMatchObject({ deployments: [] })
  })
})

describe('tokens of people', () => {
  test('are their own to list and delete, and nobody else’s but an admin’s', async () => {
    const [ada, bea] = [await plane.person(), await plane.person()]
    const mine = await ada.token()
    const made = await plane.ask('POST', 'tokens', { token: mine, json: { name: 'laptop', scope: 'read' } })
    const { id, secret, person } = made.json as { id: string; secret: string; person: string }
    expect(person).toBe(ada.name)
    expect(await authenticate(plane.sql, secret)).toMatchObject({ name: ada.name, scope: 'read' })
    const theirs = (await plane.ask('GET', 'tokens', { token: await bea.token() })).json as { tokens: { id: string }[] }
    expect(theirs.tokens.map((token) => token.id)).not.toContain(id)
    expect(code(await plane.ask('DELETE', `tokens/${id}`, { token: await bea.token() }))).toBe('TOKEN_NOT_FOUND')
    expect(code(await plane.ask('POST', 'tokens', { token: secret, json: { name: 'wider', scope: 'admin' } }))).toBe(
      'FORBIDDEN',
    )
    expect((await plane.ask('DELETE', `tokens/${id}`, { token: mine })).status).toBe(204)
  })

  test('stand alone only when an admin says so', async () => {
    const json = { name: 'ci', scope: 'deploy', alone: true }
    expect(code(await plane.ask('POST', 'tokens', { token: await (await plane.person()).token(), json }))).toBe(
      'FORBIDDEN',
    )
    const boss = await plane.person('admin')
    expect((await plane.ask('POST', 'tokens', { token: await boss.token(), json })).json).toMatchObject({
      person: null,
    })
  })

  test('cannot be made for an app that one does not see, nor to outlive the token they are made with', async () => {
    const ada = await plane.person()
    const [app] = [await plane.app()]
    const foreign = await plane.ask('POST', 'tokens', { token: await ada.token(), json: { name: 'x', app_id: app } })
    expect(code(foreign)).toBe('APP_NOT_FOUND')
    const short = await plane.ask('POST', 'tokens', {
      token: admin,
      json: { name: 's', scope: 'admin', expires_in_days: 1 },
    })
    const parent = short.json as { secret: string; expires_at: string }
    for (const json of [{ name: 'long' }, { name: 'long', expires_in_days: 30 }])
      expect((await plane.ask('POST', 'tokens', { token: parent.secret, json })).json).toMatchObject({
        expires_at: parent.expires_at,
      })
  })

  test('go with their person', async () => {
    const ada = await plane.person()
    const token = await ada.token()
    expect((await plane.ask('GET', 'whoami', { token })).json).toMatchObject({ name: ada.name, person: { roles: {} } })
    await plane.ask('DELETE', `people/${ada.name}`, { token: admin })
    expect((await plane.ask('GET', 'whoami', { token })).status).toBe(401)
  })
})

describe('the audit log', () => {
  test('an owner reads of their own apps, page by page, who did what from where', async () => {
    const [app, other] = [await plane.app(), await plane.app()]
    const ada = await plane.person('member', { [app]: 'owner' })
    const token = await ada.token()
    const from = { headers: { 'x-forwarded-for': '10.0.0.1, 192.0.2.7', 'user-agent': 'atelier-cli' } }
    for (const message of ['one', 'two', 'three'])
      await plane.ask('POST', 'lock', { token, json: { app_id: app, message }, ...from })
    await plane.ask('POST', 'lock', { token: admin, json: { app_id: other, message: 'theirs' } })
    await plane.ask('POST', 'rollback', { token, json: { app_id: app, version: '9.9.9' }, ...from })

    const first = await plane.ask('GET', 'audit?limit=2', { token })
    const { entries, next } = first.json as { entries: Record<string, unknown>[]; next: string }
    expect(entries).toMatchObject([
      {
        what: 'roll back',
        action: 'POST /rollback',
        app_id: app,
        outcome: 'VERSION_NOT_FOUND',
        detail: { version: '9.9.9' },
      },
      {
        action: 'POST /lock',
        who: ada.name,
        via: 'cli',
        from: '192.0.2.7',
        detail: { message: 'three' },
        outcome: 'done',
      },
    ])
    const second = await plane.ask('GET', `audit?limit=2&cursor=${next}`, { token })
    expect(second.json).toMatchObject({
      entries: [{ detail: { message: 'two' } }, { detail: { message: 'one' } }],
      next: null,
    })
    expect((await plane.ask('GET', `audit?app=${other}`, { token })).status).toBe(404)
    expect((await plane.ask('GET', `audit?who=nobody`, { token })).json).toEqual({ entries: [], next: null })
    expect((await plane.ask('GET', `audit?app=${other}`, { token: admin })).json).toMatchObject({
      entries: [{ detail: { message: 'theirs' } }],
    })
  })

  test('C7: holds no value of a variable, no secret of a token and no password', async () => {
    const app = await plane.app()
    const canary = `canary-${newId()}`
    const ada = await plane.person('member', { [app]: 'owner' })
    const token = await ada.token()
    await plane.ask('PUT', `apps/${app}/env`, { token, json: { values: { KEY: canary } } })
    await plane.ask('POST', 'password', { token, json: { current: canary, password: `${canary}-${canary}` } })
    const made = await plane.ask('POST', 'tokens', { token, json: { name: 'ci' } })
    const rows = await plane.sql<{ row: string }[]>`select audit_entries::text as row from audit_entries`
    const all = JSON.stringify(rows)
    expect(all).toContain('KEY')
    expect(all).not.toContain(canary)
    expect(all).not.toContain((made.json as { secret: string }).secret)
  })

  test.each(['https://ada:CANARY@git.example/a/b', 'https://CANARY@git ex/a', 'https://git.example/a/b?token=CANARY'])(
    'C7: holds no password out of the address of a repository that was refused for it: %s',
    async (form) => {
      const app = await plane.app()
      const canary = `canary-${newId()}`
      const address = form.replace('CANARY', canary)
      const linked = { host: 'gitea', url: address }
      const asked = [
        await plane.ask('PUT', `apps/${app}/repo`, { token: admin, json: linked }),
        await plane.ask('POST', 'deploy', { token: admin, json: { app_id: app, source: { git: address } } }),
      ]
      expect(asked.map(({ status }) => status)).toEqual([400, 400])
      const rows = await plane.sql`select detail::text from audit_entries where app_id = ${app}`
      expect(rows).toHaveLength(2)
      expect(JSON.stringify([rows, asked])).not.toContain(canary)
    },
  )

  test('what cannot be written down is not done', async () => {
    const id = `a${newId()}`
    await plane.sql`alter table audit_entries rename to audit_entries_gone`
    const answer = await plane.ask('POST', 'apps', { token: admin, json: { name: id } })
    await plane.sql`alter table audit_entries_gone rename to audit_entries`
    expect(answer.status).toBe(500)
    expect(await findApp(plane.sql, id)).toBeNull()
    expect(await createApp(plane.sql, { id, by: 'ada' })).toMatchObject({ id })
  })
})
