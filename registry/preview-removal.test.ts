import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { claimAppDatabase } from './app-databases.ts'
import { createApp } from './apps.ts'
import { targetOfBranch } from './branches.ts'
import { createDeployment, type Deployment, findDeployment } from './deployments.ts'
import { newId } from './ids.ts'

const database = await createDatabase({ max: 12 })
const { sql } = database
const key = Buffer.alloc(32, 7)
afterAll(() => database[Symbol.asyncDispose]())

let app: string
beforeEach(async () => {
  app = newId()
  await createApp(sql, { id: app, by: 'ada' })
})

type Whose = 'own' | 'fork'
let made = 0
const deploy = (whose: Whose) =>
  createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, 'pr/7'),
    ...{ version: `1.0.${++made}`, source: 'upload', by: whose === 'fork' ? 'approver' : 'ada' },
    options: whose === 'fork' ? { fork: true } : {},
  })
const databaseOf = (deployment: Deployment) => claimAppDatabase(sql, deployment, { key, embedded: true })
const waiting = () =>
  sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`.then(
    ({ length }) => length,
  )

describe("B6: a fork's preview and the app's own of the same pull request share no room", () => {
  test.each([
    { first: 'own', second: 'fork', reason: "a fork's commit takes its place" },
    { first: 'fork', second: 'own', reason: "the app's own commit takes its place" },
  ] as const)('when a commit of the $first comes a moment before one of the $second', async (order) => {
    const there = await deploy(order.first)
    const before = await databaseOf(there)
    const { begun } = await sql.begin(async (tx) => {
      await tx`select id from apps where id = ${app} for update`
      const first = deploy(order.first)
      await expect.poll(waiting).toBe(1)
      const second = deploy(order.second)
      await expect.poll(waiting).toBe(2)
      return { begun: [first, second] }
    })
    const [first, second] = await Promise.all(begun)
    if (!first || !second) throw new Error('not deployed')
    expect(first.routeId).toBe(there.routeId)
    expect(second.routeId).not.toBe(there.routeId)
    expect(await findDeployment(sql, first.id)).toMatchObject({
      routeId: null,
      state: 'cancelled',
      stateReason: order.reason,
      stateBy: second.createdBy,
    })
    // A build that was under way finds no room, and what it had is to be dropped.
    await expect(databaseOf(first)).rejects.toThrow('was removed while it was built')
    expect(await sql`select route_id from app_databases where name = ${before.name}`).toEqual([{ routeId: null }])
    expect((await databaseOf(second)).name).not.toBe(before.name)
  })

  test('however many of both come at once', async () => {
    const all = Array.from({ length: 24 }, (_, index): Whose => (index % 2 ? 'fork' : 'own'))
    const deployed = await Promise.all(all.map(async (whose) => ({ whose, ...(await deploy(whose)) })))
    const whose = new Map<string | null, Set<Whose>>()
    for (const one of deployed) whose.set(one.routeId, (whose.get(one.routeId) ?? new Set()).add(one.whose))
    expect([...whose.values()].map(({ size }) => size)).toEqual([...whose.values()].map(() => 1))
    const rooms = await sql<{ isFork: boolean; open: number }[]>`
      select r.is_fork, count(*) filter (where d.state = 'queued')::integer as open
      from routes r
      join deployments d on d.route_id = r.id
      where r.app_id = ${app}
      group by r.id
    `
    expect(rooms).toEqual([{ isFork: expect.any(Boolean), open: 1 }])
  })

  test('whatever a part of the platform tries that does not know of it: the database refuses', async () => {
    const own = await deploy('own')
    const refusal = (constraint: string) => expect.objectContaining({ constraint_name: constraint })
    await expect(sql`update deployments set options = '{"fork":true}' where id = ${own.id}`).rejects.toEqual(
      refusal('deployments_stand_as_their_route'),
    )
    await expect(sql`update routes set is_fork = true where id = ${own.routeId}`).rejects.toEqual(
      refusal('routes_keep_their_standing'),
    )
    const fork = await deploy('fork')
    await expect(sql`update deployments set route_id = ${fork.routeId} where id = ${own.id}`).rejects.toEqual(
      refusal('deployments_stand_as_their_route'),
    )
  })
})
