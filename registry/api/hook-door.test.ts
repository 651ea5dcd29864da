import { createHmac, randomUUID } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { afterAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'
import { giteaPullRequest, giteaPush } from '../../test/support/gitea-hooks.ts'
import { recordedHook } from '../../test/support/github-hooks.ts'
import { settleProductionBranch } from '../apps.ts'
import { listEntries } from '../audit.ts'
import { listHeads } from '../repo-heads.ts'
import type { RepoHost } from '../repo-links.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

const secret = 'a-secret-of-the-hook'
const example = recordedHook

let app: string
let hook: { path: string; id: string }
let repository: string
const link = async (host: RepoHost, name: string) => {
  const json = { host, url: `https://git.example/${name}`, secret, forks: 'approve' }
  const { json: made } = await plane.ask('PUT', `apps/${app}/repo`, { token: await plane.token('admin'), json })
  const { pathname } = new URL((made as { hook_url: string }).hook_url)
  return { path: pathname, id: pathname.split('/').at(-1) ?? '' }
}
beforeEach(async () => {
  app = await plane.app()
  repository = 'Codertocat/Hello-World'
  hook = await link('github', repository)
})

type Sent = {
  event?: string
  from?: string
  body?: string
  signature?: string | null
  delivery?: string | null
  path?: string
}
const sign = (body: string, key = secret) => createHmac('sha256', key).update(body).digest('hex')
const send = ({ event = 'pull_request', body = '{}', signature, delivery, path = hook.path, from }: Sent) => {
  const signed = signature === undefined ? `sha256=${sign(body)}` : signature
  return plane.ask('POST', path, {
    body: Buffer.from(body),
    headers: {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'x-github-event': event,
      ...(from && { 'x-forwarded-for': `10.9.9.9, ${from}` }),
      ...(delivery !== null && { 'x-github-delivery': delivery ?? randomUUID() }),
      ...(signed !== null && { 'x-hub-signature-256': signed }),
    },
  })
}
const heads = () => listHeads(plane.sql, app)
const audited = async () =>
  (await listEntries(plane.sql, { apps: [app], limit: 50 })).filter(({ via }) => via === 'webhook').reverse()

describe('a webhook of GitHub, as it was recorded', () => {
  test.each(['opened', 'synchronize', 'reopened'])('%s has the head of the pull request followed', async (action) => {
    const body = JSON.stringify(example('pull_request', action))
    expect(await send({ body })).toMatchObject({ status: 202, json: { taken: 'opened' } })
    const pull = (example('pull_request', action) as { pull_request: { number: number; head: { sha: string } } })
      .pull_request
    expect(await heads()).toMatchObject([
      { branch: `pr/${pull.number}`, headSha: pull.head.sha, isOpen: true, isFork: false },
    ])
  })

  test('closed ends that, and what was said before it comes too late', async () => {
    await send({ body: JSON.stringify(example('pull_request', 'opened')) })
    expect(await heads()).toMatchObject([{ isOpen: true }])
    const closed = example('pull_request', 'closed') as { pull_request: { updated_at: string } }
    expect((await send({ body: JSON.stringify(closed) })).status).toBe(202)
    expect(await heads()).toMatchObject([{ isOpen: false, dueAt: null }])
    const late = example('pull_request', 'synchronize') as { pull_request: { updated_at: string } }
    late.pull_request.updated_at = new Date(Date.parse(closed.pull_request.updated_at) - 1000).toISOString()
    expect((await send({ body: JSON.stringify(late) })).status).toBe(202)
    expect(await heads()).toMatchObject([{ isOpen: false }])
  })

  test('that is sent as a form is read as well', async () => {
    const body = new URLSearchParams({ payload: JSON.stringify(example('pull_request', 'opened')) }).toString()
    const headers = {
      'content-type': 'application/x-www-form-urlencoded',
      'x-github-event': 'pull_request',
      'x-github-delivery': randomUUID(),
      'x-hub-signature-256': `sha256=${sign(body)}`,
    }
    expect((await plane.ask('POST', hook.path, { body: Buffer.from(body), headers })).status).toBe(202)
    expect(await heads()).toHaveLength(1)
  })

  test('of a push has the production branch followed, and no other', async () => {
    await settleProductionBranch(plane.sql, app, 'main')
    const push = example('push') as { ref: string; after: string }
    for (const ref of ['refs/heads/feature', 'refs/tags/main']) {
      const body = JSON.stringify({ ...push, ref, after: 'a'.repeat(40) })
      expect((await send({ event: 'push', body })).status).toBe(202)
    }
    expect(await heads()).toEqual([])
    const body = JSON.stringify({ ...push, ref: 'refs/heads/main', after: 'b'.repeat(40) })
    expect((await send({ event: 'push', body })).json).toEqual({ taken: 'pushed' })
    expect(await heads()).toMatchObject([{ branch: 'main', pullRequest: null, headSha: 'b'.repeat(40) }])
  })

  test('of anything else is taken, and nothing comes of it', async () => {
    for (const event of ['ping', 'star', 'issues'])
      for (const _ of ['first', 'again'])
        expect((await send({ event, body: JSON.stringify({ zen: 'whatever' }) })).status).toBe(202)
    expect((await send({ body: JSON.stringify(example('pull_request', 'labeled')) })).json).toEqual({
      taken: 'nothing',
    })
    expect(await heads()).toEqual([])
  })

  test('B6: of a fork says that it is one, also when the fork is gone or only looks like the repository', async () => {
    const body = example('pull_request', 'opened') as {
      pull_request: { number: number; head: { repo: Record<string, unknown> | null } }
    }
    const { repo } = body.pull_request.head
    for (const [number, from] of [
      [11, { ...repo, full_name: 'mallory/Hello-World' }],
      [12, { ...repo, id: 666 }],
      [13, null],
    ] as const) {
      body.pull_request.number = number
      body.pull_request.head.repo = from
      expect((await send({ body: JSON.stringify(body) })).status).toBe(202)
    }
    expect((await heads()).map(({ isFork }) => isFork)).toEqual([true, true, true])
  })
})

test('the address of a hook is shown to those who may change the link, and to nobody else', async () => {
  const url = `http://api.localhost:8080${hook.path}`
  const show = async (token: string) => plane.ask('GET', `apps/${app}/repo`, { token })
  for (const [role, shown] of [
    ['viewer', null],
    ['deployer', url],
    ['owner', url],
  ] as const) {
    const person = await plane.person('guest', { [app]: role })
    expect([role, (await show(await person.token())).json]).toMatchObject([role, { hook_url: shown, repository }])
    const reading = await show(await person.token('read'))
    expect(reading).toMatchObject({ status: 200, json: { hook_url: null } })
    expect(reading.text).not.toContain(hook.id)
  }
})

describe('the audit log', () => {
  test('says of each webhook that something comes of which repository it is of, from where, and what was told', async () => {
    await settleProductionBranch(plane.sql, app, 'main')
    const from = '192.0.2.30'
    const push = { ...(example('push') as object), ref: 'refs/heads/main', after: 'b'.repeat(40) }
    const pull = (action: string) => example('pull_request', action) as { pull_request: { head: { sha: string } } }
    const delivery = randomUUID()
    await send({ from, delivery, body: JSON.stringify(pull('opened')) })
    await send({ from, event: 'push', body: JSON.stringify(push) })
    await send({ from, body: JSON.stringify(pull('closed')) })
    const by = { actor: 'Codertocat/Hello-World (github)', via: 'webhook', address: from, outcome: 'done', appId: app }
    const { sha } = pull('opened').pull_request.head
    expect(await audited()).toMatchObject([
      { ...by, action: 'webhook pull request opened', detail: { branch: 'pr/2', sha, delivery } },
      { ...by, action: 'webhook push', detail: { branch: 'main', sha: 'b'.repeat(40) } },
      { ...by, action: 'webhook pull request closed', detail: { branch: 'pr/2' } },
    ])
  })

  test('says nothing of those that nothing comes of: wrongly signed, repeated, of another branch, known before', async () => {
    await settleProductionBranch(plane.sql, app, 'main')
    const body = JSON.stringify(example('pull_request', 'opened'))
    const again = JSON.stringify({ ...(JSON.parse(body) as object), sender: { login: 'again' } })
    const delivery = randomUUID()
    expect((await send({ body, delivery, signature: `sha256=${sign(body, 'another')}` })).status).toBe(401)
    expect((await send({ body, delivery })).status).toBe(202)
    expect((await send({ body, delivery })).status).toBe(401)
    expect((await send({ body: again })).status).toBe(202)
    expect((await send({ event: 'ping' })).status).toBe(202)
    const aside = { ...(example('push') as object), ref: 'refs/heads/feature', after: 'a'.repeat(40) }
    expect((await send({ event: 'push', body: JSON.stringify(aside) })).status).toBe(202)
    expect(await audited()).toMatchObject([{ action: 'webhook pull request opened', detail: { delivery } }])
  })

  test('holds what was taken, or it is not taken', async () => {
    const body = JSON.stringify(example('pull_request', 'opened'))
    const sent = { body, delivery: randomUUID() }
    await plane.sql`alter table audit_entries rename to audit_entries_gone`
    const answer = await send(sent)
    await plane.sql`alter table audit_entries_gone rename to audit_entries`
    expect([answer.status, await heads()]).toEqual([500, []])
    expect((await send(sent)).status).toBe(202)
    expect(await heads()).toHaveLength(1)
  })
})

describe('a webhook of Gitea and Forgejo', () => {
  beforeEach(async () => {
    hook = await link('gitea', 'ada/hello')
  })
  const sendAs = (family: 'gitea' | 'forgejo', event: string, json: unknown, key = secret) => {
    const body = JSON.stringify(json)
    const headers = {
      'content-type': 'application/json',
      [`x-${family}-event`]: event,
      [`x-${family}-delivery`]: randomUUID(),
      [`x-${family}-signature`]: sign(body, key),
    }
    return plane.ask('POST', hook.path, { body: Buffer.from(body), headers })
  }

  test('B6: of a pull request without a branch, which anybody may push who reads the repository, says that it is a fork’s', async () => {
    const pull = { action: 'opened', sha: 'c'.repeat(40), repository: 'ada/hello' } as const
    for (const [number, ref] of [
      [4, 'refs/pull/4/head'],
      [5, ''],
    ] as const)
      expect((await sendAs('gitea', 'pull_request', giteaPullRequest({ ...pull, number, ref }))).status).toBe(202)
    expect((await heads()).map(({ isFork }) => isFork)).toEqual([true, true])
  })

  test.each(['gitea', 'forgejo'] as const)('is taken by the headers of %s', async (family) => {
    const sha = 'c'.repeat(40)
    for (const action of ['opened', 'synchronized', 'closed', 'reopened'] as const) {
      const sent = await sendAs(
        family,
        'pull_request',
        giteaPullRequest({ action, number: 3, sha, repository: 'ada/hello' }),
      )
      expect(sent.status).toBe(202)
      expect(await heads()).toMatchObject([{ branch: 'pr/3', isOpen: action !== 'closed', isFork: false }])
    }
    await sendAs(family, 'push', giteaPush({ branch: 'main', sha, repository: 'ada/hello' }))
    expect(await heads()).toMatchObject([{ branch: 'main' }, { branch: 'pr/3' }])
  })

  test('W1: is refused when it is signed with another secret', async () => {
    const json = giteaPullRequest({ action: 'opened', number: 3, sha: 'c'.repeat(40), repository: 'ada/hello' })
    expect((await sendAs('gitea', 'pull_request', json, 'another-secret-of-it')).status).toBe(401)
    expect(await heads()).toEqual([])
  })
})

describe('W1: a webhook is refused', () => {
  const body = JSON.stringify(example('pull_request', 'opened'))
  test.each<[string, Sent]>([
    ['without a signature', { signature: null }],
    ['with an empty one', { signature: '' }],
    ['with one that is too short', { signature: `sha256=${sign(body).slice(0, 10)}` }],
    ['with one that is too long', { signature: `sha256=${sign(body)}0` }],
    ['by another secret', { signature: `sha256=${sign(body, 'x')}` }],
    ['by an empty secret', { signature: `sha256=${sign(body, '')}` }],
    ['in the older form', { signature: `sha1=${createHmac('sha1', secret).update(body).digest('hex')}` }],
    ['that was written anew', { signature: `sha256=${sign(JSON.stringify(JSON.parse(body), null, 2))}` }],
    ['that does not say which delivery it is', { delivery: null }],
  ])('%s', async (_, how) => {
    expect(await send({ body, ...how })).toMatchObject({ status: 401, json: { error: { code: 'HOOK_REFUSED' } } })
    expect(await heads()).toEqual([])
    expect((await send({ body })).status).toBe(202)
  })

  test('when it comes again, under its own id or another', async () => {
    const delivery = randomUUID()
    expect((await send({ body, delivery })).status).toBe(202)
    await plane.sql`delete from repo_heads`
    expect((await send({ body, delivery })).status).toBe(401)
    expect((await send({ body })).status).toBe(401)
    expect((await send({ body: body.replace('"opened"', '"reopened"'), delivery })).status).toBe(401)
    expect(await heads()).toEqual([])
    const kept =
      await plane.sql`select at > now() - interval '1 minute' as fresh from hook_deliveries where link_id = ${hook.id}`
    expect(kept).toEqual([{ fresh: true }, { fresh: true }])
  })

  test('when the hook has no secret, whatever it is signed with', async () => {
    const { seal } = await import('../secrets.ts')
    await plane.sql`
      update repo_links
      set secret = ${seal(plane.key, `repo-link:${hook.id}/secret`, '')}
      where id = ${hook.id}
    `
    for (const key of ['', 'undefined', 'null', secret])
      expect((await send({ body, signature: `sha256=${sign(body, key)}` })).status).toBe(401)
  })
})

describe('W5: what a webhook says of where from and what', () => {
  test('is never where anything is fetched from', async () => {
    const hostile = example('pull_request', 'opened') as {
      repository: Record<string, unknown>
      pull_request: { head: { repo: Record<string, unknown> } }
    }
    hostile.repository.clone_url = 'https://evil.example/x.git'
    hostile.pull_request.head.repo.clone_url = 'ext::sh -c touch% /tmp/canary'
    expect((await send({ body: JSON.stringify(hostile) })).status).toBe(202)
    expect(
      JSON.stringify([await heads(), await plane.sql`select url from repo_links where app_id = ${app}`]),
    ).not.toMatch(/evil\.example|ext::/)
  })

  test('is refused when it is another repository than the one of the hook', async () => {
    const other = { ...example('pull_request', 'opened'), repository: { id: 1, full_name: 'mallory/other' } }
    expect((await send({ body: JSON.stringify(other) })).status).toBe(400)
    expect(await heads()).toEqual([])
  })

  test.each([
    'refs/heads/a`id`',
    'refs/heads/$(id)',
    'refs/heads/-oProxyCommand=x',
    'refs/heads/--upload-pack=x',
    'refs/heads/a..b',
    'refs/heads/a;id',
    'refs/heads/\u202eniam',
    'refs/heads/a.lock',
    `refs/heads/${'a'.repeat(260)}`,
  ])('G8: the ref %j goes no further', async (ref) => {
    const body = JSON.stringify({ ...example('push'), ref, after: 'b'.repeat(40) })
    expect((await send({ event: 'push', body })).status).toBe(400)
    expect(await heads()).toEqual([])
  })

  test.each<[string, object]>([
    ['a number that is text', { number: '1; id' }],
    ['a number below one', { number: 0 }],
    ['a fraction', { number: 1.5 }],
    ['a head that is no commit', { head: { sha: 'HEAD', repo: null } }],
    ['a head that is an option', { head: { sha: '--upload-pack=touch /tmp/canary', repo: null } }],
    ['no head', { head: null }],
    ['a time that is none', { updated_at: 'yesterday' }],
  ])('%s is refused', async (_, changes) => {
    const { pull_request, ...rest } = example('pull_request', 'opened')
    const body = JSON.stringify({ ...rest, pull_request: { ...(pull_request as object), ...changes } })
    expect((await send({ body })).status).toBe(400)
    expect(await heads()).toEqual([])
  })
})

describe('bad input at the door of webhooks', () => {
  test("a hook that is nobody's, of an app that is gone, or no name at all", async () => {
    for (const path of ['/hooks/aaaaaaaaaaaaaaaaaaaaaaaa', '/hooks/x', "/hooks/'%20or%201=1", '/hooks/..%2f'])
      expect([401, 404], path).toContain((await send({ path })).status)
    await plane.ask('DELETE', `apps/${app}`, { token: await plane.token('admin') })
    expect((await send({})).status).toBe(404)
  })

  test('a body that is too large is not read', async () => {
    const big = 'x'.repeat(5 * 1_048_576 + 1)
    expect((await send({ body: big })).status).toBe(413)
    expect((await send({ body: JSON.stringify(example('pull_request', 'opened')) })).status).toBe(202)
  })

  test('bodies that never end keep out those of their own hook at most', async () => {
    const former = hook
    app = await plane.app()
    hook = await link('github', repository)
    const headers = { 'content-length': '100', 'x-github-event': 'push', 'x-github-delivery': 'slow' }
    const leaving = new AbortController()
    onTestFinished(() => leaving.abort())
    const slow = Array.from({ length: 6 }, () => {
      const body = new PassThrough()
      body.on('error', () => undefined)
      body.write('{')
      return plane.ask('POST', former.path, { headers, body, signal: leaving.signal }).catch(() => null)
    })
    await expect.poll(async () => (await send({ path: former.path })).status).toBe(503)
    expect((await send({ body: JSON.stringify(example('pull_request', 'opened')) })).status).toBe(202)
    leaving.abort()
    await Promise.all(slow)
    await expect.poll(async () => (await send({ path: former.path })).status).not.toBe(503)
  })

  test.each(['', 'null', '[]', '{', '"x"', '{"__proto__":{"x":1}}', '\u0000'])(
    'the body %j is refused',
    async (body) => {
      expect([400, 401]).toContain((await send({ body })).status)
      expect(({} as { x?: number }).x).toBeUndefined()
    },
  )

  test('reading is no method of it, and its secret is told to nobody', async () => {
    expect((await plane.ask('GET', hook.path)).status).toBe(401)
    const shown = await plane.ask('GET', `apps/${app}/repo`, { token: await plane.token('admin') })
    expect(shown.text).toContain('/hooks/')
    expect(shown.text).not.toContain(secret)
    const [row] = await plane.sql`select secret from repo_links where id = ${hook.id}`
    expect(row?.secret.includes(secret)).toBe(false)
  })
})
