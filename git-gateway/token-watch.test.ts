import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../registry/apps.ts'
import { newId } from '../registry/ids.ts'
import { removeMember, setMember } from '../registry/members.ts'
import { createPerson } from '../registry/people.ts'
import { createToken } from '../registry/tokens.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { flushPacket, packet } from './pkt-line.ts'
import { basic, clientOf, pushHead } from './test-client.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo, type TestRepo } from './test-repo.ts'

let database: TestDatabase
let gateway: TestGateway
beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database)
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

type Ending = 'is deleted' | 'expires' | 'is of one who only looks now' | 'is of one who left the app'

/** A new app, the token of a deployer of it, and how that one ends. */
async function appWithToken(how: Ending) {
  const app = `app-${newId()}`
  await createApp(database.sql, { id: app, by: 'test' })
  const { id: personId } = await createPerson(database.sql, { name: newId(), platformRole: 'guest', by: 'root' })
  await setMember(database.sql, { app, personId, role: 'deployer', by: 'root' })
  const { secret, token } = await createToken(database.sql, { name: 'ci', scope: 'deploy', personId })
  const ends: Record<Ending, () => Promise<unknown>> = {
    'is deleted': () => database.sql`delete from tokens where id = ${token.id}`,
    expires: () => database.sql`update tokens set expires_at = now() where id = ${token.id}`,
    'is of one who only looks now': () => setMember(database.sql, { app, personId, role: 'viewer', by: 'root' }),
    'is of one who left the app': () => removeMember(database.sql, { app, personId }),
  }
  const end = ends[how]
  return { app, secret, end }
}

async function packFileOf(repo: TestRepo): Promise<Buffer> {
  await repo.git('repack', '-adq')
  const folder = join(repo.path, '.git/objects/pack')
  const name = (await readdir(folder)).find((one) => one.endsWith('.pack')) ?? ''
  return readFile(join(folder, name))
}

describe('C6: a token that ends while', () => {
  test.each(['is deleted', 'expires', 'is of one who only looks now', 'is of one who left the app'] as const)(
    'a push is sent: it %s, the push is refused, and nothing is kept',
    async (how) => {
      const { app, secret, end } = await appWithToken(how)
      await using repo = await makeRepo(gateway.url(app, { password: secret }))
      const sha = await repo.commit({ 'noise.txt': randomBytes(400_000).toString('hex') })
      const pack = await packFileOf(repo)
      const asked = { headers: { authorization: basic(secret) }, length: pack.length + 1_000_000 }
      const half = pack.subarray(0, pack.length / 2)
      const head = pushHead(sha)
      const socket = await clientOf(gateway).begin(`/${app}.git/git-receive-pack`, Buffer.concat([head, half]), asked)
      let told = ''
      socket.setEncoding('latin1').on('data', (text: string) => {
        told += text
      })
      await expect.poll(async () => (await gateway.gitProcesses()).length).toBeGreaterThan(0)
      await end()
      await expect.poll(() => told, { timeout: 30_000 }).toContain('the token is no longer valid')
      await expect.poll(() => gateway.gitProcesses()).toEqual([])
      socket.destroy()
      expect(await gateway.refs(app)).toEqual({})
    },
  )

  test('a build is followed: nothing more of it is told, and the deployment goes on', async () => {
    const { app, secret, end } = await appWithToken('is deleted')
    const goOn = Promise.withResolvers<void>()
    gateway.play(async (_claim, say) => {
      await say('before')
      await goOn.promise
      await say('after')
      return undefined
    })
    await using repo = await makeRepo(gateway.url(app, { password: secret }))
    await repo.commit({ 'index.html': 'one' })
    const pushing = repo.push('main')
    await expect.poll(async () => (await gateway.deployments(app))[0]?.state).toBe('building')
    await end()
    const { code, stderr } = await pushing
    expect(code).toBe(1)
    expect(stderr).toContain('The token has ended; the deployment goes on')
    expect(stderr).not.toContain('after')
    goOn.resolve()
    await expect.poll(async () => (await gateway.deployments(app))[0]?.state).toBe('live')
    gateway.play(async () => undefined)
  })

  test('a clone is sent: it is cut', async () => {
    const { app, secret, end } = await appWithToken('is deleted')
    await using repo = await makeRepo(gateway.url(app, { password: secret }))
    const sha = await repo.commit({ 'noise.txt': randomBytes(12_000_000).toString('hex') })
    expect(await repo.push('main')).toMatchObject({ code: 0 })
    const wants = Buffer.concat([packet(`want ${sha} side-band-64k\n`), flushPacket, packet('done\n')])
    const asked = { headers: { authorization: basic(secret) }, length: wants.length }
    const socket = await clientOf(gateway).begin(`/${app}.git/git-upload-pack`, wants, asked)
    // It reads no further: the rest of the pack waits for it.
    await once(socket, 'readable')
    await end()
    await expect.poll(() => gateway.gitProcesses(), { timeout: 30_000 }).toEqual([])
    const whole = socket.toArray()
    expect(Buffer.concat(await whole).length).toBeLessThan(12_000_000)
  })
})
