import type { Db } from './sql.ts'

// What a rollout came to is kept as long as its deployments are; what was counted for it, while somebody may still ask why.
const visitorsForDays = 1
const countsForDays = 7

/** Forgets the visitors and the counts of rollouts that have long ended; their decisions name the numbers they rest on. */
export async function pruneRollouts(sql: Db): Promise<void> {
  await sql`
    delete from rollout_bad_units u
    using rollouts o
    where o.id = u.rollout_id
      and o.ended_at < now() - make_interval(days => ${visitorsForDays})
  `
  await sql`
    delete from rollout_reports r
    using rollouts o
    where o.id = r.rollout_id
      and o.ended_at < now() - make_interval(days => ${countsForDays})
  `
  await sql`
    delete from rollout_probes p
    using rollouts o
    where o.id = p.rollout_id
      and o.ended_at < now() - make_interval(days => ${countsForDays})
  `
}
