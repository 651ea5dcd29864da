import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import type { Db, Sql } from './sql.ts'

/**
 * What keeps new versions from an app's production. A `lock` is a person's and holds every door: pushes, uploads, redeploys, promotions. A `hold` comes
 * when a version was taken back, and holds the doors nobody stands at (webhooks, schedules) until somebody deploys by hand. Going back, and a
 * rollout that is under way, are held by neither, nor are previews.
 */
export type AppLock = { appId: string; kind: 'lock' | 'hold'; message: string; by: string; at: Date }

/** Those in force, the lock before the hold; of one app, or with null of all. */
export async function readLocks(sql: Db, apps: string[] | null): Promise<AppLock[]> {
  return sql<AppLock[]>`
    select app_id, kind, message, by, at
    from app_locks
    where (${apps}::text[] is null or app_id = any(${apps}))
      and lifted_at is null
    order by kind desc
  `
}

/** Locks every door. Done again it says the newer reason. What is on its way already goes on. */
export async function lockApp(
  sql: Sql,
  { app, message, by }: { app: string; message: string; by: string },
): Promise<AppLock> {
  return sql.begin(async (tx) => {
    await holdApp(tx, app)
    await liftLocks(tx, { app, by, kinds: ['lock'] })
    return insertLock(tx, { app, kind: 'lock', message, by })
  })
}

/** Lifts the lock and the hold; returns what was lifted. */
export async function unlockApp(sql: Sql, { app, by }: { app: string; by: string }): Promise<AppLock[]> {
  return sql.begin(async (tx) => {
    await holdApp(tx, app)
    return liftLocks(tx, { app, by, kinds: ['lock', 'hold'] })
  })
}

/** Holds the automatic doors from now on; a hold that is there already stays as it is. */
export async function holdAutomaticDoors(
  tx: Db,
  { app, message, by }: { app: string; message: string; by: string },
): Promise<void> {
  await tx`
    insert into app_locks (id, app_id, kind, message, by)
    values (${newId()}, ${app}, 'hold', ${message}, ${by})
    on conflict (app_id, kind) where lifted_at is null do nothing
  `
}

/** How a new version comes in: by somebody, by somebody who lifts the lock with it, or by itself. */
export type Door = 'by hand' | 'unlocking' | 'automatic'

/**
 * Lets a new version into production, or throws APP_LOCKED or APP_HELD. Who comes by hand lifts the hold. Returns what was lifted. The caller
 * has the app's row locked.
 */
export async function passLocks(
  tx: Db,
  { app, by, door }: { app: string; by: string; door: Door },
): Promise<AppLock[]> {
  if (door === 'unlocking') return liftLocks(tx, { app, by, kinds: ['lock', 'hold'] })
  const locks = await readLocks(tx, [app])
  refuseAt(locks)
  const [hold] = locks
  if (!hold) return []
  if (door === 'automatic')
    throw new AppError('APP_HELD', `${hold.message}; deploy a mended one by hand, or let them on: atelier unlock`)
  return liftLocks(tx, { app, by, kinds: ['hold'] })
}

/** Throws APP_LOCKED: for what brings a version back into production without a deployment of its own. */
export async function refuseIfLocked(sql: Sql, app: string, by: string): Promise<void> {
  await sql.begin((tx) => passLocks(tx, { app, by, door: 'by hand' }))
}

/** The same, lifting nothing: the deployment that follows does. */
export async function refuseWhileLocked(sql: Db, app: string): Promise<void> {
  refuseAt(await readLocks(sql, [app]))
}

function refuseAt(locks: AppLock[]): void {
  const lock = locks.find(({ kind }) => kind === 'lock')
  if (!lock) return
  const { appId, by, message } = lock
  throw new AppError('APP_LOCKED', `${appId} is locked by ${by} (${message}); to lift it: atelier unlock`)
}

// Against a deployment that is being made at this moment: it is in before the lock, or it meets it.
async function holdApp(tx: Db, app: string): Promise<void> {
  await tx`
    select id
    from apps
    where id = ${app}
    for no key update
  `
}

async function insertLock(tx: Db, { app, kind, message, by }: Omit<AppLock, 'at' | 'appId'> & { app: string }) {
  const [lock] = await tx<AppLock[]>`
    insert into app_locks (id, app_id, kind, message, by)
    values (${newId()}, ${app}, ${kind}, ${message}, ${by})
    returning app_id, kind, message, by, at
  `
  if (!lock) throw new AppError('INTERNAL', `locking ${app} returned no row`)
  return lock
}

async function liftLocks(
  tx: Db,
  { app, by, kinds }: { app: string; by: string; kinds: AppLock['kind'][] },
): Promise<AppLock[]> {
  const lifted = await tx<AppLock[]>`
    update app_locks
    set lifted_at = clock_timestamp(),
        lifted_by = ${by}
    where app_id = ${app}
      and kind = any(${kinds})
      and lifted_at is null
    returning app_id, kind, message, by, at
  `
  return lifted.toSorted((one, other) => (one.kind < other.kind ? 1 : -1))
}
