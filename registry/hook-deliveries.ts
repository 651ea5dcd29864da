import type { Db } from './sql.ts'

/** How long a delivery that comes again is known. */
export const deliveryKeptHours = 24

/** False: this delivery of the hook was taken before. */
export async function takeDelivery(tx: Db, { link, delivery }: { link: string; delivery: string }): Promise<boolean> {
  const taken = await tx`
    insert into hook_deliveries (link_id, delivery)
    values (${link}, ${delivery})
    on conflict do nothing
    returning delivery
  `
  return taken.length === 1
}

export async function pruneDeliveries(sql: Db): Promise<void> {
  await sql`delete from hook_deliveries where at < now() - make_interval(hours => ${deliveryKeptHours})`
}
