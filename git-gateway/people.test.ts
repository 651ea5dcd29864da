import { afterAll, beforeAll, expect, test } from 'vitest'
import { listEntries } from '../registry/audit.ts'
import { newId } from '../registry/ids.ts'
import { listMembers, removeMember, setMember } from '../registry/members.ts'
import { createPerson, type Person } from '../registry/people.ts'
import { createToken } from '../registry/tokens.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import { makeRepo } from './test-repo.ts'

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

const person = () => createPerson(database.sql, { name: newId(), platformRole: 'member', by: 'root' })
const urlOf = async (app: string, { id }: Person) => {
  const { secret } = await createToken(database.sql, { name: 'laptop', scope: 'deploy', personId: id })
  return gateway.url(app, { password: secret })
}
const entries = async (app: string) =>
  (await listEntries(database.sql, { apps: null, limit: 100 })).filter(({ appId }) => appId === app)

test('whoever creates an app by pushing owns it, and the push stands in the audit log', async () => {
  const ada = await person()
  await using repo = await makeRepo(await urlOf('first', ada))
  const sha = await repo.commit({ 'index.html': 'one' })
  expect(await repo.push('main')).toMatchObject({ code: 0 })
  expect(await listMembers(database.sql, 'first')).toMatchObject([{ name: ada.name, role: 'owner' }])
  expect(await gateway.deployments('first')).toMatchObject([{ createdBy: ada.name }])
  await expect
    .poll(() => entries('first'))
    .toMatchObject([
      {
        action: 'git push',
        actor: ada.name,
        personId: ada.id,
        via: 'git',
        detail: { refs: [`refs/heads/main ${sha}`], creates: 'first' },
        outcome: 'done',
      },
    ])
})

test('C6: a viewer clones and may not push; a role that is taken is gone from the next push', async () => {
  const [ada, bea] = [await person(), await person()]
  await using repo = await makeRepo(await urlOf('shared', ada))
  await repo.commit({ 'index.html': 'one' })
  await repo.push('main')
  await using theirs = await makeRepo(await urlOf('shared', bea))
  await theirs.commit({ 'index.html': 'two' })

  expect((await theirs.push('HEAD:other')).stderr).toContain('There is no app shared, or this token may not see it.')
  await setMember(database.sql, { app: 'shared', personId: bea.id, role: 'viewer', by: 'root' })
  expect((await theirs.push('HEAD:other')).stderr).toContain('takes the role deployer on shared, theirs is viewer')
  await setMember(database.sql, { app: 'shared', personId: bea.id, role: 'deployer', by: 'root' })
  expect(await theirs.push('HEAD:other')).toMatchObject({ code: 0 })
  await removeMember(database.sql, { app: 'shared', personId: bea.id })
  await theirs.commit({ 'index.html': 'three' })
  expect((await theirs.push('HEAD:other')).stderr).toContain('There is no app shared')
  expect((await entries('shared')).filter(({ actor }) => actor === bea.name)).toHaveLength(1)
})

test('a push whose build fails is written down as refused', async () => {
  const ada = await person()
  await using repo = await makeRepo(await urlOf('broken', ada))
  await repo.commit({ 'index.html': 'one' })
  gateway.play(async () => 'build failed: vite exited 1')
  expect(await repo.push('main')).toMatchObject({ code: 1 })
  await expect.poll(() => entries('broken')).toMatchObject([{ action: 'git push', outcome: 'PUSH_REFUSED' }])
})

test('what cannot be written down is not kept', async () => {
  await using repo = await makeRepo(gateway.url('unwritten'))
  await repo.commit({ 'index.html': 'one' })
  await database.sql`alter table audit_entries rename to audit_entries_gone`
  const pushed = await repo.push('main')
  await database.sql`alter table audit_entries_gone rename to audit_entries`
  expect(pushed.code).toBe(1)
  expect(await gateway.refs('unwritten').catch(() => ({}))).toEqual({})
})
