import { expect, test } from 'vitest'
import { createDatabase } from '../test/support/database.ts'
import { TestEdge } from '../test/support/edge.ts'

test('an edge that was forgotten says again which routes it sees, though they are the same', async () => {
  await using database = await createDatabase()
  await using edge = await TestEdge.start(database.url)
  await edge.deploy('seen', { kind: 'static', files: { 'index.html': 'a page' } })
  const seesRoutes = async () => {
    const [row] = await edge.sql<{ isSeen: boolean }[]>`
      select pg_visible_in_snapshot(max(r.changed_in::text)::xid8, e.routes_seen) as is_seen
      from edges e
      cross join routes r
      where e.id = ${edge.edgeId}
      group by e.id
    `
    return row?.isSeen ?? null
  }
  await expect.poll(seesRoutes, { timeout: 20_000 }).toBe(true)
  // As those are that have said nothing for an hour.
  expect(await edge.sql`delete from edges where id = ${edge.edgeId} returning id`).toHaveLength(1)
  await expect.poll(seesRoutes, { timeout: 20_000 }).toBe(true)
})
