import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readHostProxy } from '../registry/egress/host-proxy.ts'
import { OutboundHttp, type OutboundLimits } from '../registry/egress/outbound-http.ts'
import { removePreview } from '../registry/preview-removal.ts'
import { recordDecision } from '../registry/rollout.ts'
import { type DelivererDeps, WebhookDeliverer } from '../registry/webhooks/deliverer.ts'
import { claimDelivery, recordAttempt } from '../registry/webhooks/deliveries.ts'
import { startControlPlane } from './support/control-plane.ts'
import { type Answer, taken, WebhookReceiver } from './support/webhook-receiver.ts'

// Receivers are on the loopback, which a platform calls when it is told that it may.
const plane = await startControlPlane({ env: { ATELIER_OUTBOUND_ALLOW: '127.0.0.0/8' } })
const admin = await plane.token('admin')
const opened: (() => unknown)[] = []
let app: string

beforeEach(async () => {
  app = await plane.app()
})
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
  await plane.sql`delete from webhooks`
})
afterAll(() => plane.close())

const root = join(import.meta.dirname, '..')

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function receiver(answer: Answer = taken): Promise<WebhookReceiver> {
  const got = await WebhookReceiver.start({ answer })
  opened.push(() => got.close())
  return got
}

function deliver({ limits = {}, ...deps }: Partial<DelivererDeps> & { limits?: Partial<OutboundLimits> } = {}) {
  const loopback = { kind: 'network', address: '127.0.0.0', prefix: 8, family: 'ipv4', port: null } as const
  const http = new OutboundHttp({ settings: () => ({ rules: [loopback], hostProxy: readHostProxy({}) }) })
  const send: OutboundHttp['send'] = (request) => http.send(request, limits)
  const { sql, key, config, log } = plane
  const deliverer = new WebhookDeliverer({ sql, http: { send }, key, config, log, ...deps })
  const close = () => deliverer.close()
  opened.push(close)
  return { close }
}

type Made = { id: string; secret: string }
async function create(url: string, more: object = {}, at = `apps/${app}/webhooks`): Promise<Made> {
  const answer = await plane.ask('POST', at, { token: admin, json: { url, ...more } })
  expect(answer).toMatchObject({ status: 200, headers: { 'cache-control': 'no-store' } })
  return answer.json as Made
}

const ask = async (method: string, path: string) =>
  (await plane.ask(method, `apps/${app}/webhooks/${path}`, { token: admin })).json as Record<string, unknown>

type Shown = { id: number; state: string; attempts: { status: number | null; reason: string | null }[] }
const deliveriesOf = async ({ id }: Made) => (await ask('GET', `${id}/deliveries`))['deliveries'] as Shown[]
const settledSoon = async (made: Made) => {
  await expect.poll(async () => (await deliveriesOf(made)).length).toBe(1)
  return settled(made)
}
const settled = async (made: Made) => {
  await expect.poll(async () => (await deliveriesOf(made)).map(({ state }) => state)).not.toContain('waiting')
  await expect.poll(async () => (await deliveriesOf(made)).map(({ state }) => state)).not.toContain('sending')
  return deliveriesOf(made)
}

describe('a webhook', () => {
  test('is told every step of a deployment, a rollout and a preview, signed as Standard Webhooks has it', async () => {
    const got = await receiver()
    const { secret } = await create(got.url)
    deliver()
    await plane.deployed(app, '1.0.0')
    const rollout = await plane.rollout(app, '1.1.0', 5)
    await recordDecision(plane.sql, rollout, { kind: 'hold', sentence: 'too many errors', by: 'platform' })
    expect(
      await plane.ask('POST', 'abort', { token: admin, json: { app_id: app, reason: 'it is slow' } }),
    ).toMatchObject({ status: 200 })
    await expect
      .poll(() => got.types())
      .toEqual(expect.arrayContaining(['deployment.rolled_back', 'rollout.hold', 'rollout.reverting']))
    const verified = got.messages.map(({ body, headers }) => new Webhook(secret).verify(body, headers))
    expect(verified).toHaveLength(got.messages.length)
    expect(new Set(got.messages.map(({ id }) => id)).size).toBe(got.messages.length)
    const ofFirst = got.messages.filter(({ data }) => (data['deployment'] as { number?: number })?.number === 1)
    expect(ofFirst.map(({ type }) => type).sort()).toEqual(
      ['queued', 'building', 'built', 'uploading', 'live'].map((state) => `deployment.${state}`).sort(),
    )
    expect(ofFirst.find(({ type }) => type === 'deployment.live')?.data).toMatchObject({
      deployment: { app_id: app, version: '1.0.0', state: 'live', url: `http://${app}.apps.localhost:8080` },
      from: 'uploading',
      by: 'test-worker',
    })
    const held = got.messages.find(({ type }) => type === 'rollout.hold')
    expect(held?.data).toMatchObject({ rollout: { percent: 5 }, reason: 'too many errors', deployment: { number: 2 } })
    expect(got.types()).toContain('deployment.canary')
    const back = got.messages.find(({ type }) => type === 'deployment.rolled_back')
    expect(back?.data['reason']).toContain('it is slow')
  })

  test('is told of previews, until they are removed', async () => {
    const got = await receiver()
    await create(got.url, { events: ['preview.*', 'deployment.removed'] })
    deliver()
    await plane.deployed(app, '1.0.0', 'feature')
    await removePreview(plane.sql, { app, branch: 'feature', by: 'ada' })
    await expect.poll(() => got.types().sort()).toEqual(['deployment.removed', 'preview.created', 'preview.removed'])
    expect(got.messages.find(({ type }) => type === 'preview.created')?.data).toEqual({
      preview: { app_id: app, branch: 'feature', url: `http://${app}-git-feature.apps.localhost:8080` },
    })
  })

  test('gets only what it asked for, of its app or, when it is the platform’s, of all', async () => {
    const [some, previews, all] = [await receiver(), await receiver(), await receiver()]
    await create(some.url, { events: ['deployment.live'] })
    await create(previews.url, { environment: 'preview', events: ['deployment.queued'] })
    await create(all.url, { events: ['deployment.live'] }, 'webhooks')
    const other = await plane.app()
    await plane.deployed(app, '1.0.0')
    await plane.deployed(app, '1.0.1', 'feature')
    await plane.deployed(other, '2.0.0')
    deliver()
    await expect.poll(() => all.messages.length).toBe(3)
    await expect.poll(() => some.messages.length).toBe(2)
    await expect.poll(() => previews.types()).toEqual(['deployment.queued'])
    expect(previews.messages[0]?.data).toMatchObject({ deployment: { version: '1.0.1' } })
    expect(all.messages.map(({ data }) => (data['deployment'] as { app_id: string }).app_id).sort()).toEqual(
      [app, app, other].sort(),
    )
    const mine = await plane.token('deploy', app)
    expect(await plane.ask('GET', 'webhooks', { token: mine })).toMatchObject({ status: 403 })
    expect(await plane.ask('GET', `apps/${other}/webhooks`, { token: mine })).toMatchObject({ status: 404 })
  })

  test('in the format of Slack gets one line, in which what others wrote is no markup', async () => {
    const got = await receiver()
    await create(got.url, { format: 'slack' })
    deliver()
    await plane.deployed(app, '1.0.0')
    const { id } = await plane.deployed(app, '1.0.1')
    const hostile = '<!channel> *bold* <http://evil.example|ours>\u202e\nsecond & last'
    await plane.sql`update deployments set state = 'rolled_back', state_reason = ${hostile} where id = ${id}`
    await expect.poll(() => got.messages.length).toBe(3)
    const lines = got.messages.map(({ body }) => (JSON.parse(body) as { text: string }).text)
    expect(lines).toContain(`*${app}* v1 (1.0.0) of main is live: <http://${app}.apps.localhost:8080>`)
    expect(lines).toContain(
      `*${app}* v2 (1.0.1) of main was taken back: &lt;!channel&gt; \u200b*bold\u200b* &lt;http://evil.example|ours&gt; second &amp; last`,
    )
  })

  test('that is tried by hand says how it went', async () => {
    const got = await receiver()
    const made = await create(got.url)
    deliver()
    const { id, event } = (await ask('POST', `${made.id}/test`)) as { id: number; event: { id: string } }
    await expect
      .poll(async () => ask('GET', `${made.id}/deliveries/${id}`))
      .toMatchObject({
        state: 'delivered',
        attempts: [{ status: 204, reason: null }],
        body: got.messages[0]?.body ?? expect.any(String),
      })
    expect(got.messages.map(({ id, type }) => [id, type])).toEqual([[event.id, 'webhook.test']])
  })
})

describe('delivery', () => {
  test('is tried again with the same id and body and a new signature, and every attempt is in the log', async () => {
    let left = 2
    const got = await receiver((_request, response) =>
      left-- > 0 ? response.writeHead(503).end('canary-said') : response.writeHead(200).end('canary-said'),
    )
    const made = await create(got.url, { events: ['deployment.live'] })
    deliver({ retryAfterSec: [0.01, 0.01, 0.01] })
    await plane.deployed(app, '1.0.0')
    await expect.poll(() => got.messages.length).toBe(3)
    const [delivery] = await settled(made)
    expect(delivery).toMatchObject({ state: 'delivered' })
    expect(delivery?.attempts.map(({ status, reason }) => [status, reason])).toEqual([
      [503, 'it answered 503'],
      [503, 'it answered 503'],
      [200, null],
    ])
    expect(new Set(got.messages.map(({ id, body }) => `${id} ${body}`)).size).toBe(1)
    for (const { body, headers } of got.messages) new Webhook(made.secret).verify(body, headers)
    const everything =
      await plane.sql`select to_jsonb(d)::text || to_jsonb(a)::text as row from webhook_deliveries d, webhook_attempts a`
    expect(JSON.stringify([everything, await ask('GET', `${made.id}/deliveries/${delivery?.id}`)])).not.toContain(
      'canary-said',
    )
  })

  test('loses nothing between an event and its message: what happened while nobody ran is sent afterwards', async () => {
    const got = await receiver()
    await create(got.url, { events: ['deployment.*'] })
    await plane.deployed(app, '1.0.0')
    const undone = new Error('undone')
    await expect(
      plane.sql.begin(async (tx) => {
        await tx`select tell_webhooks('deployment.live', ${app}, 'production', '{}')`
        throw undone
      }),
    ).rejects.toBe(undone)
    expect(got.messages).toEqual([])
    deliver()
    await expect.poll(() => got.messages.length).toBe(5)
    expect(got.types().sort()).toEqual(
      ['building', 'built', 'live', 'queued', 'uploading'].map((state) => `deployment.${state}`),
    )
  })

  test('of one that died while it sent is made up for under the same id, and its late word does not count', async () => {
    const got = await receiver()
    const made = await create(got.url, { events: ['deployment.live'] })
    await plane.deployed(app, '1.0.0')
    const claimed = await claimDelivery(plane.sql, { except: [] })
    expect(claimed).toMatchObject({ id: made.id, attempt: 1 })
    deliver()
    expect(await deliveriesOf(made)).toMatchObject([{ state: 'sending', attempts: [] }])
    expect(got.messages).toEqual([])
    await plane.sql`update webhook_deliveries set due_at = clock_timestamp()`
    await plane.sql`select pg_notify('webhooks', '')`
    await expect.poll(() => got.messages.map(({ id }) => id)).toEqual([claimed?.event.id])
    await settled(made)
    const attempt = { at: new Date(), durationMs: 1, status: 500, reason: 'late' }
    if (claimed)
      expect(
        await recordAttempt(plane.sql, claimed, { kind: 'failed', attempt, retryInSec: 1, isGone: false }),
      ).toBeNull()
    expect(await deliveriesOf(made)).toMatchObject([{ state: 'delivered', attempts: [{ status: 204 }] }])
  })

  test('that is interrupted by a stop is sent by the next one', async () => {
    const slow = await receiver(() => undefined)
    const made = await create(slow.url, { events: ['deployment.live'] })
    const first = deliver()
    await plane.deployed(app, '1.0.0')
    await expect.poll(() => slow.messages.length).toBe(1)
    await first.close()
    expect(await deliveriesOf(made)).toMatchObject([{ state: 'waiting', attempts: [] }])
    deliver()
    await expect.poll(() => slow.messages.length).toBe(2)
    expect(slow.messages[1]?.id).toBe(slow.messages[0]?.id)
  })

  test('is sent again when somebody asks for it', async () => {
    const got = await receiver()
    const made = await create(got.url, { events: ['deployment.live'] })
    deliver()
    await plane.deployed(app, '1.0.0')
    await expect.poll(() => got.messages.length).toBe(1)
    const [delivery] = await settled(made)
    await ask('POST', `${made.id}/deliveries/${delivery?.id}/redeliver`)
    await expect.poll(() => got.messages.length).toBe(2)
    expect(got.messages[1]).toMatchObject({ id: got.messages[0]?.id, body: got.messages[0]?.body })
    expect((await settled(made))[0]?.attempts).toHaveLength(2)
    expect(await ask('POST', `${made.id}/deliveries/999999999/redeliver`)).toMatchObject({
      error: { code: 'DELIVERY_NOT_FOUND' },
    })
  })

  test('goes on to others while a receiver says nothing, talks without end, or hangs up', async () => {
    const silent = await receiver(() => undefined)
    const endless = await receiver((_request, response) => {
      const more = () => !response.destroyed && response.write(Buffer.alloc(16_384), () => setImmediate(more))
      response.writeHead(500)
      more()
    })
    const rude = await receiver((request) => request.socket.destroy())
    const bad = [await create(silent.url), await create(endless.url), await create(rude.url)]
    const got = await receiver()
    await create(got.url)
    deliver({ limits: { timeoutMs: 1500 }, retryAfterSec: [] })
    await plane.deployed(app, '1.0.0')
    const live = () => got.types().filter((type) => type.startsWith('deployment.')).length
    await expect.poll(live).toBe(5)
    await expect.poll(() => silent.messages.length).toBeGreaterThan(0)
    for (const [at, words] of ['within 1.5 s', 'answered 500', 'did not answer properly'].entries()) {
      const made = bad[at]
      if (!made) throw new Error('not made')
      await expect
        .poll(async () => (await deliveriesOf(made)).flatMap(({ attempts }) => attempts.map(({ reason }) => reason)), {
          timeout: 20_000,
        })
        .toContainEqual(expect.stringContaining(words))
    }
    await expect.poll(() => endless.sockets.size).toBe(0)
  })

  test('is given up in the end; a webhook that took nothing is disabled, others are told, and it can be enabled', async () => {
    let status = 500
    const down = await receiver((_request, response) => response.writeHead(status).end())
    const watcher = await receiver()
    const made = await create(down.url, { events: ['deployment.live'], name: 'ci' })
    await create(watcher.url, { events: ['webhook.*'] }, 'webhooks')
    deliver({ retryAfterSec: [0.01] })
    await plane.deployed(app, '1.0.0')
    await expect.poll(() => watcher.types()).toEqual(['webhook.disabled'])
    expect(watcher.messages[0]?.data).toMatchObject({
      webhook: { id: made.id, name: 'ci', app_id: app },
      reason: expect.stringMatching(/^nothing was taken since .*; the last time: it answered 500$/),
    })
    expect(down.messages).toHaveLength(2)
    expect(await ask('GET', made.id)).toMatchObject({ disabled_reason: expect.stringContaining('answered 500') })
    expect(await ask('POST', `${made.id}/test`)).toMatchObject({ error: { code: 'WEBHOOK_DISABLED' } })
    await plane.deployed(app, '1.0.1')
    status = 200
    expect(await ask('POST', `${made.id}/enable`)).toMatchObject({ disabled_at: null })
    await plane.deployed(app, '1.0.2')
    await expect.poll(() => down.messages.at(-1)?.data).toMatchObject({ deployment: { version: '1.0.2' } })
  })

  test('to one that is gone (410) ends at once', async () => {
    const gone = await receiver((_request, response) => response.writeHead(410).end())
    const made = await create(gone.url, { events: ['deployment.live'] })
    deliver()
    await plane.deployed(app, '1.0.0')
    await expect.poll(() => ask('GET', made.id)).toMatchObject({ disabled_reason: expect.stringContaining('410') })
    expect(gone.messages).toHaveLength(1)
  })
})

describe('a secret', () => {
  test('that is rotated signs beside the one before, until that one’s time is over', async () => {
    const got = await receiver()
    const made = await create(got.url, { events: ['deployment.live'] })
    const { secret } = (await ask('POST', `${made.id}/rotate`)) as Made
    expect(secret).not.toBe(made.secret)
    deliver()
    await plane.deployed(app, '1.0.0')
    await expect.poll(() => got.messages.length).toBe(1)
    for (const one of [made.secret, secret])
      new Webhook(one).verify(got.messages[0]?.body ?? '', got.messages[0]?.headers ?? {})
    await plane.sql`update webhooks set former_until = now() - interval '1 second'`
    await plane.deployed(app, '1.0.1')
    await expect.poll(() => got.messages.length).toBe(2)
    const { body = '', headers = {} } = got.messages[1] ?? {}
    new Webhook(secret).verify(body, headers)
    expect(() => new Webhook(made.secret).verify(body, headers)).toThrow('No matching signature')
    expect(() => new Webhook(secret).verify(`${body} `, headers)).toThrow('No matching signature')
  })

  test('and an address are sealed, and shown by no route', async () => {
    const url = 'https://hooks.slack.example/services/T0/B0/canaryXXXXXXXXXXXXXX?token=canary'
    const made = await create(url)
    const [row] = await plane.sql<{ row: string }[]>`select to_jsonb(w)::text as row from webhooks w`
    const answers = [row?.row, JSON.stringify([await ask('GET', ''), await ask('GET', made.id)])].join('')
    expect(answers).not.toContain('canary')
    expect(answers).not.toContain(made.secret)
    expect(await ask('GET', made.id)).toMatchObject({ address: 'https://hooks.slack.example/services/…?…' })
  })

  test.each([
    ['https://hooks.zapier.example/hooks/catch/1234567/canary/', 'https://hooks.zapier.example/hooks/…'],
    ['https://make.example/canary7', 'https://make.example/…'],
    ['https://receiver.example/hook', 'https://receiver.example/hook'],
    ['https://receiver.example:8443', 'https://receiver.example:8443/'],
  ])('of %s a viewer sees no more than %s', async (url, address) => {
    const made = await create(url)
    const viewer = await plane.person('guest', { [app]: 'viewer' })
    const { json } = await plane.ask('GET', `apps/${app}/webhooks/${made.id}`, { token: await viewer.token('read') })
    expect(json).toMatchObject({ address })
  })
})

test('the receiver of docs/webhooks.md takes what is signed, once, and nothing else', async () => {
  const [, example = ''] = /```js\n([\s\S]*?)```/.exec(await readFile(join(root, 'docs/webhooks.md'), 'utf8')) ?? []
  const directory = await mkdtemp(join(tmpdir(), 'atelier-receiver-'))
  opened.push(() => rm(directory, { recursive: true }))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  await writeFile(join(directory, 'receiver.mjs'), example)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/`
  const made = await create(url, { events: ['deployment.live'] })
  const child = spawn(process.execPath, ['receiver.mjs'], {
    cwd: directory,
    env: { PATH: process.env['PATH'], PORT: String(port), WEBHOOK_SECRET: made.secret },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  opened.push(() => child.kill('SIGKILL'))
  let printed = ''
  child.stdout.on('data', (chunk) => {
    printed += chunk
  })
  await expect.poll(() => fetch(url, { method: 'POST', body: '{}' }).then(({ status }) => status, String)).toBe(401)
  deliver()
  await plane.deployed(app, '1.0.0')
  const [delivery] = await settledSoon(made)
  await ask('POST', `${made.id}/deliveries/${delivery?.id}/redeliver`)
  await expect.poll(async () => (await deliveriesOf(made))[0]?.attempts.map(({ status }) => status)).toEqual([204, 204])
  expect(printed).toBe('deployment.live 1.0.0\n')
})

describe('W2: an address', () => {
  test('of the inside gets nothing, and the log says why', async () => {
    const inside = await receiver()
    const made = await create(inside.url)
    const http = new OutboundHttp({ settings: () => ({ rules: [], hostProxy: readHostProxy({}) }) })
    deliver({ http })
    await ask('POST', `${made.id}/test`)
    const [delivery] = await settled(made)
    expect(delivery).toMatchObject({ state: 'failed', attempts: [{ status: null }] })
    expect(delivery?.attempts[0]?.reason).toMatch(/is a loopback address; .*ATELIER_OUTBOUND_ALLOW/)
    expect(inside.sockets.size + inside.messages.length).toBe(0)
  })

  test.each([
    ['http://10.0.0.1/x', '10.0.0.1:80 is'],
    ['https://192.168.1.7:8443/x', '192.168.1.7:8443 is'],
    ['http://169.254.169.254/latest/meta-data/', '169.254.169.254:80 is'],
    ['http://0xa.1/', '10.0.0.1:80 is'],
    ['http://167772161/', '10.0.0.1:80 is'],
    ['http://[::1]:9000/', '[::1]:9000 is'],
    ['http://[::ffff:10.0.0.1]/', '[::ffff:a00:1]:80 is'],
    ['http://[fd00::1]/', '[fd00::1]:80 is'],
    ['http://0.0.0.0/', '0.0.0.0:80 is'],
  ])('that stands there and is of the inside is refused at once: %s', async (url, said) => {
    for (const at of [`apps/${app}/webhooks`, 'webhooks']) {
      const { status, json } = await plane.ask('POST', at, { token: admin, json: { url } })
      expect({ status, json }).toMatchObject({ status: 403, json: { error: { code: 'OUTBOUND_REFUSED' } } })
      const { message } = (json as { error: { message: string } }).error
      expect(message).toContain(said)
      expect(message).toContain('name it in ATELIER_OUTBOUND_ALLOW on the server')
    }
    expect(await plane.sql`select id from webhooks where app_id = ${app}`).toEqual([])
  })

  test.each(['http://127.0.0.1:9/', 'https://93.184.216.34/', 'http://inside.example/', 'http://localhost:9/'])(
    'that the platform may call, or that is a name, is taken: %s',
    async (url) => {
      await create(url)
    },
  )

  test.each(['ftp://x.example/', 'http://me:pw@x.example/', 'javascript:alert(1)', 'x.example', 'http://x.example:0/'])(
    '%s is not taken at all',
    async (url) => {
      expect(await plane.ask('POST', `apps/${app}/webhooks`, { token: admin, json: { url } })).toMatchObject({
        status: 400,
        json: { error: { code: 'REQUEST_INVALID' } },
      })
    },
  )
})

test.each(['deployment.liv', 'preview.live', 'webhook.test', 'deploy.*', '**', ''])(
  'a webhook for %o, which never happens, is not made',
  async (event) => {
    const json = { url: 'https://receiver.example/', events: [event] }
    const { status, json: answer } = await plane.ask('POST', `apps/${app}/webhooks`, { token: admin, json })
    expect({ status, answer }).toMatchObject({ status: 400, answer: { error: { code: 'REQUEST_INVALID' } } })
  },
)
