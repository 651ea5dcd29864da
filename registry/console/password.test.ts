import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { createSignInCode } from '../console-sessions.ts'
import { newId } from '../ids.ts'
import { hashPassword } from '../passwords.ts'
import { createPersonLink, setPassword } from '../people.ts'
import { createToken } from '../tokens.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

const host = 'console.localhost:8080'
const password = 'correct horse battery'
let kept: string
beforeAll(async () => {
  kept = await hashPassword(password)
})
// Each test from an address of its own: they are counted.
let last = 0
const nextAddress = () => `198.51.100.${++last}`

function post(path: string, json: unknown, { address = nextAddress(), origin = `http://${host}` } = {}) {
  const headers = { origin, 'x-forwarded-for': address }
  return plane.ask('POST', path, { host, headers, json })
}

async function personWithPassword() {
  const person = await plane.person()
  await setPassword(plane.sql, person.id, kept)
  return person
}

const cookieOf = (answer: { headers: Record<string, unknown> }) =>
  String(answer.headers['set-cookie']).split(';')[0] ?? ''
const whoami = (cookie: string) => plane.ask('GET', 'whoami', { host, headers: { cookie } })

describe('a link to choose a password', () => {
  test('C9: lets its person choose one, once, and signs them in and nobody else', async () => {
    const [ada, eve] = [await plane.person(), await plane.person()]
    const { code } = await createPersonLink(plane.sql, ada.id)
    expect((await post('/welcome', { code })).json).toEqual({ name: ada.name })
    expect((await post('/welcome', { code, password, name: eve.name })).status).toBe(400)
    const answer = await post('/welcome', { code, password })
    expect(answer.status).toBe(204)
    expect(String(answer.headers['set-cookie'])).toMatch(/HttpOnly; SameSite=Lax$/)
    expect((await whoami(cookieOf(answer))).json).toMatchObject({ name: ada.name, scope: 'admin' })
    expect((await post('/welcome', { code, password })).status).toBe(401)
    expect((await post('/session', { name: eve.name, password })).status).toBe(401)
    expect((await post('/session', { name: ada.name, password })).status).toBe(204)
  })

  test('ends when it is old, when there is a newer one, and with its person', async () => {
    const ada = await plane.person()
    const first = await createPersonLink(plane.sql, ada.id)
    const second = await createPersonLink(plane.sql, ada.id)
    expect((await post('/welcome', { code: first.code })).status).toBe(401)
    expect((await post('/welcome', { code: second.code })).status).toBe(200)
    await plane.sql`update person_links set expires_at = now() - interval '1 second'`
    expect((await post('/welcome', { code: second.code, password })).status).toBe(401)
    const third = await createPersonLink(plane.sql, ada.id)
    await plane.sql`delete from people where id = ${ada.id}`
    expect((await post('/welcome', { code: third.code, password })).status).toBe(401)
  })

  test('used twice at the same time sets one password', async () => {
    const ada = await plane.person()
    const { code } = await createPersonLink(plane.sql, ada.id)
    const answers = await Promise.all([1, 2, 3].map(() => post('/welcome', { code, password })))
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 401, 401])
  })

  test.each(['short', 'aaaaaaaaaaaaaaaa', 'abababababababab', 'Password1234', 'changeme-changeme', '1234567890123'])(
    'refuses %j and is good for a better one',
    async (weak) => {
      const ada = await plane.person()
      const { code } = await createPersonLink(plane.sql, ada.id)
      expect((await post('/welcome', { code, password: weak })).json).toMatchObject({
        error: { code: 'PASSWORD_WEAK' },
      })
      expect((await post('/welcome', { code, password: `${ada.name}${ada.name}` })).status).toBe(400)
      expect((await post('/welcome', { code, password })).status).toBe(204)
    },
  )

  test('C8: is not followed for another site', async () => {
    const { code } = await createPersonLink(plane.sql, (await plane.person()).id)
    expect((await post('/welcome', { code, password }, { origin: 'http://evil.example' })).status).toBe(403)
    expect((await post('/welcome', { code })).status).toBe(200)
  })
})

describe('a password', () => {
  test('is kept as argon2id and as nothing else', async () => {
    const ada = await personWithPassword()
    const [row] = await plane.sql<{ password: string }[]>`select password from people where id = ${ada.id}`
    expect(row?.password).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
    expect(await hashPassword(password)).not.toBe(row?.password)
  })

  test('signs in; a wrong one, a name nobody has and a person without one are answered alike', async () => {
    const [ada, invited] = [await personWithPassword(), await plane.person()]
    expect((await post('/session', { name: ada.name.toUpperCase(), password })).status).toBe(204)
    const refused = await Promise.all([
      post('/session', { name: ada.name, password: 'not the password' }),
      post('/session', { name: newId(), password }),
      post('/session', { name: invited.name, password }),
    ])
    for (const answer of refused) {
      expect(answer.status).toBe(401)
      expect(answer.text).toBe(refused[0]?.text)
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
  })

  test('is the same however its letters are composed', async () => {
    const ada = await plane.person()
    await setPassword(plane.sql, ada.id, await hashPassword('f\u00fcnf schwere S\u00e4tze'))
    expect((await post('/session', { name: ada.name, password: 'fu\u0308nf schwere Sa\u0308tze' })).status).toBe(204)
  })

  test('of a name may be tried ten times, all at once too, and then not even the right one', async () => {
    const ada = await personWithPassword()
    const tries = await Promise.all(
      Array.from({ length: 24 }, () => post('/session', { name: ada.name, password: 'wrong wrong wrong' })),
    )
    expect(tries.filter(({ status }) => status === 401)).toHaveLength(10)
    expect(tries.filter(({ status }) => status === 429)).toHaveLength(14)
    const right = await post('/session', { name: ada.name, password })
    expect(right).toMatchObject({ status: 429, json: { error: { code: 'SIGN_IN_LIMIT' } } })
    expect(right.headers['retry-after']).toBeDefined()
    await plane.sql`update sign_in_attempts set at = now() - interval '16 minutes'`
    expect((await post('/session', { name: ada.name, password })).status).toBe(204)
  })

  test('is tried so often from one network, whatever the names', async () => {
    const address = (n: number) => `2001:db8:1:2:${n.toString(16)}::1`
    const ada = await personWithPassword()
    await plane.sql`
      insert into sign_in_attempts (subject)
      select 'address:2001:db8:1:2::/64' from generate_series(1, 50)
    `
    expect((await post('/session', { name: newId(), password }, { address: address(7) })).status).toBe(429)
    expect((await post('/session', { name: ada.name, password }, { address: address(8) })).status).toBe(429)
    expect((await post('/session', { name: ada.name, password }, { address: '2001:db8:1:3::1' })).status).toBe(204)
  })

  test('the right one starts the count anew, and the audit log says how many were wrong', async () => {
    const ada = await personWithPassword()
    for (const _ of [1, 2, 3]) await post('/session', { name: ada.name, password: 'wrong wrong wrong' })
    const address = nextAddress()
    expect((await post('/session', { name: ada.name, password }, { address })).status).toBe(204)
    const [entry] = await plane.sql`select * from audit_entries where actor = ${ada.name} order by id desc limit 1`
    expect(entry).toMatchObject({
      action: 'sign in',
      via: 'console',
      address,
      detail: { by: 'password', refused_before: 3 },
    })
    const attempts = await plane.sql`select from sign_in_attempts where subject = ${`name:${ada.name}`}`
    expect(attempts).toHaveLength(0)
  })
})

describe('a session of a person', () => {
  test('ends in every browser when the password is changed, reset, or the person signed out by an admin', async () => {
    const ada = await personWithPassword()
    const admin = await plane.token('admin')
    const signIn = async (with_ = password) => cookieOf(await post('/session', { name: ada.name, password: with_ }))
    const origin = { origin: `http://${host}` }

    const [one, two] = [await signIn(), await signIn()]
    const next = 'a wholly other password'
    const change = (json: unknown) => plane.ask('POST', 'password', { host, headers: { cookie: one, ...origin }, json })
    expect((await change({ current: 'wrong wrong wrong', password: next })).status).toBe(403)
    expect((await whoami(two)).status).toBe(200)
    expect((await change({ current: password, password: next })).status).toBe(204)
    expect((await whoami(one)).status).toBe(401)
    expect((await whoami(two)).status).toBe(401)

    const three = await signIn(next)
    expect((await whoami(three)).status).toBe(200)
    expect((await plane.ask('DELETE', `people/${ada.name}/sessions`, { token: admin })).json).toEqual({ ended: 1 })
    expect((await whoami(three)).status).toBe(401)

    const { token } = await createToken(plane.sql, { name: 'laptop', scope: 'read', personId: ada.id })
    const { code: left } = await createSignInCode(plane.sql, { tokenId: token.id })
    await plane.ask('DELETE', `people/${ada.name}/sessions`, { token: admin })
    expect((await post('/session', { code: left })).status).toBe(401)

    const four = await signIn(next)
    const { code } = await createPersonLink(plane.sql, ada.id)
    expect((await whoami(four)).status).toBe(200)
    await post('/welcome', { code, password })
    expect((await whoami(four)).status).toBe(401)
  })

  test('ends with a new password and tokens do not: those end all at once when they are told to', async () => {
    const [ada, bea] = [await personWithPassword(), await personWithPassword()]
    const admin = await plane.token('admin')
    const session = cookieOf(await post('/session', { name: ada.name, password }))
    const [own, ofBea] = [await ada.token('admin'), await bea.token('admin')]
    const { token, secret: other } = await createToken(plane.sql, { name: 'laptop', scope: 'read', personId: ada.id })
    const { code } = await createSignInCode(plane.sql, { tokenId: token.id })
    const ofToken = cookieOf(await post('/session', { code }))
    const works = async (token: string) => (await plane.ask('GET', 'whoami', { token })).status === 200
    const { code: link } = await createPersonLink(plane.sql, ada.id)
    expect((await post('/welcome', { code: link, password: 'a wholly other password' })).status).toBe(204)
    expect([(await whoami(session)).status, (await whoami(ofToken)).status]).toEqual([401, 401])
    expect([await works(own), await works(other)]).toEqual([true, true])

    expect((await plane.ask('DELETE', 'tokens', { token: admin })).status).toBe(400)
    expect((await plane.ask('DELETE', 'tokens', { token: own })).json).toEqual({ ended: 1 })
    expect([await works(own), await works(other), await works(ofBea)]).toEqual([true, false, true])
    expect((await plane.ask('DELETE', `people/${ada.name}/tokens`, { token: ofBea })).status).toBe(403)
    expect((await plane.ask('DELETE', `people/${ada.name}/tokens`, { token: admin })).json).toEqual({ ended: 1 })
    expect([await works(own), await works(ofBea), await works(admin)]).toEqual([false, true, true])
  })

  test('expires, and ends with its person', async () => {
    const [ada, bea] = [await personWithPassword(), await personWithPassword()]
    const [one, two] = await Promise.all(
      [ada, bea].map(async ({ name }) => cookieOf(await post('/session', { name, password }))),
    )
    await plane.sql`update console_sessions set expires_at = now() - interval '1 second' where person_id = ${ada.id}`
    expect((await whoami(one ?? '')).status).toBe(401)
    expect((await whoami(two ?? '')).status).toBe(200)
    await plane.sql`delete from people where id = ${bea.id}`
    expect((await whoami(two ?? '')).status).toBe(401)
  })
})
