import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import { expect, onTestFinished } from 'vitest'
import type { Sql } from '../registry/sql.ts'
import { type AnyPlatform, type Atelier, test, testApart } from './support/atelier.ts'
import { connectToHome } from './support/platform-database.ts'
import { isAlive } from './support/processes.ts'
import { atOnce } from './support/repo.ts'
import { silence, taken, WebhookReceiver } from './support/webhook-receiver.ts'

const allowed = { ATELIER_OUTBOUND_ALLOW: '127.0.0.33/32' }
testApart.override('apartOptions', { env: allowed })
test.override('platformEnv', allowed)

// What a dead registry was sending is sent again when its lease is over, half a minute later.
const soon = { timeout: 120_000, interval: 100 }
const sentAtOnce = 2

type Told = { app: string; receiver: WebhookReceiver; webhook: string; secret: string; push: () => Promise<void> }

async function told(atelier: Atelier<AnyPlatform>, app: string): Promise<Told> {
  const receiver = await WebhookReceiver.start({ at: '127.0.0.33' })
  onTestFinished(() => receiver.close())
  const repo = await atelier.clone(await atelier.createApp(app))
  const args = ['webhooks', 'create', receiver.url, '--events', 'deployment.*', '-a', app, '--json']
  const { stdout, stderr } = await atelier.cli(args)
  expect(stderr).toBe('')
  const { id, secret } = JSON.parse(stdout)
  let pushed = 0
  const push = async () => {
    await repo.commit({ 'index.html': `version ${++pushed}` })
    await expect.poll(async () => (await repo.tryPush(atOnce)).code, soon).toBe(0)
  }
  return { app, receiver, webhook: id, secret, push }
}

/** Every event is with the receiver, whole, rightly signed and under an id of its own, and noted as delivered. Returns how many there were. */
async function expectNothingLost(sql: Sql, { app, receiver, webhook, secret }: Told): Promise<number> {
  const events = await sql<{ id: string }[]>`select id from webhook_events where app_id = ${app}`
  const states = () =>
    sql<{ state: string }[]>`select distinct state from webhook_deliveries where webhook_id = ${webhook}`
  await expect.poll(states, soon).toEqual([{ state: 'delivered' }])
  const ids = new Set(receiver.messages.map(({ id }) => id))
  expect([...ids].sort()).toEqual(events.map(({ id }) => id).sort())
  const bodies = new Set(receiver.messages.map(({ id, body }) => `${id} ${body}`))
  expect(bodies.size).toBe(ids.size)
  for (const { body, headers } of receiver.messages) new Webhook(secret).verify(body, headers)
  return events.length
}

const timesOf = ({ messages }: WebhookReceiver, wanted: string) => messages.filter(({ id }) => id === wanted).length

testApart(
  'kill -9 of the registry before and while it tells of 20 events: all are told, what was on its way again under its id',
  async ({ atelier }) => {
    const { platform } = atelier
    const about = await told(atelier, 'told')
    const { receiver, push } = about
    const sql = await platform.openDatabase()
    onTestFinished(() => sql.end())

    receiver.answer = silence
    await push()
    await expect.poll(() => receiver.messages.length, soon).toBe(sentAtOnce)
    await platform.takeDown('registry')
    const interrupted = receiver.messages.map(({ id }) => id)

    receiver.answer = taken
    await push()
    await push()
    expect(receiver.messages).toHaveLength(sentAtOnce)
    platform.startPart('registry')
    for (const id of interrupted) await expect.poll(() => timesOf(receiver, id), soon).toBe(2)

    receiver.answer = silence
    const before = receiver.messages.length
    await push()
    await expect.poll(() => receiver.messages.length, soon).toBeGreaterThan(before)
    await platform.kill('registry')
    const last = receiver.messages.at(-1)?.id ?? ''
    receiver.answer = taken
    expect(await expectNothingLost(sql, about)).toBeGreaterThanOrEqual(20)
    expect(timesOf(receiver, last)).toBeGreaterThan(1)
  },
)

test('a Postgres that is killed and starts again while 20 events are told: none is lost', async ({ atelier }) => {
  const about = await told(atelier, 'told-again')
  const { receiver, push } = about
  receiver.answer = silence
  await push()
  await expect.poll(() => receiver.messages.length, soon).toBe(sentAtOnce)
  const [line = ''] = (await readFile(join(atelier.home, 'postgres/postmaster.pid'), 'utf8')).split('\n')
  process.kill(Number(line), 'SIGKILL')
  await expect.poll(() => isAlive(Number(line))).toBe(false)
  // Taken while nobody can note it.
  receiver.answer = taken
  for (const socket of receiver.sockets) socket.destroy()
  for (let pushed = 0; pushed < 3; pushed++) await push()
  const sql = await connectToHome(atelier.home)
  onTestFinished(() => sql.end())
  expect(await expectNothingLost(sql, about)).toBeGreaterThanOrEqual(20)
})
