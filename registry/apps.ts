import { AppError, codeOf } from './errors.ts'
import type { Db } from './sql.ts'

export type App = { id: string; productionBranch: string | null; createdAt: Date; createdBy: string }

const slug = /^[a-z]([a-z0-9-]{0,36}[a-z0-9])?$/

/** An app's name, which is also its host label. Throws APP_NAME_ILLEGAL with the rule it breaks. */
export function parseSlug(text: string): string {
  const shown = JSON.stringify(text.slice(0, 60))
  if (!slug.test(text)) {
    throw new AppError(
      'APP_NAME_ILLEGAL',
      `${shown} cannot be an app name: 1 to 38 of a-z, 0-9 and -, a letter first, no - at the end`,
    )
  }
  if (/-pr-\d+$/.test(text)) {
    throw new AppError(
      'APP_NAME_ILLEGAL',
      `${shown} cannot be an app name: names that end in -pr-<number> belong to previews`,
    )
  }
  if (text.includes('-git-')) {
    throw new AppError('APP_NAME_ILLEGAL', `${shown} cannot be an app name: names with -git- inside belong to previews`)
  }
  return text
}

/** `owner`: the person whose it is from then on. Throws APP_NAME_ILLEGAL, NAME_TAKEN. */
export async function createApp(
  sql: Db,
  { id, by, owner = null }: { id: string; by: string; owner?: string | null },
): Promise<App> {
  try {
    const [app] = await sql<App[]>`
      with app as (
        insert into apps (id, created_by)
        values (${parseSlug(id)}, ${by})
        returning id, production_branch, created_at, created_by
      ), membership as (
        insert into members (app_id, person_id, role, added_by)
        select app.id, p.id, 'owner', ${by}
        from app
        join people p on p.id = ${owner}
      )
      select id, production_branch, created_at, created_by
      from app
    `
    if (!app) throw new AppError('INTERNAL', `creating ${id} returned no row`)
    return app
  } catch (thrown) {
    if (codeOf(thrown) === '23505')
      throw new AppError(
        'NAME_TAKEN',
        `there is an app called ${id} already; choose another name, or use that one: atelier link ${id}`,
        { cause: thrown },
      )
    throw thrown
  }
}

export async function findApp(sql: Db, id: string): Promise<App | null> {
  const [app] = await sql<App[]>`
    select id, production_branch, created_at, created_by
    from apps
    where id = ${id}
  `
  return app ?? null
}

/** All apps, or only these, by name, those after that one. `limit` null: without end. */
export async function listApps(
  sql: Db,
  {
    only = null,
    after = null,
    limit = null,
  }: { only?: string[] | null; after?: string | null; limit?: number | null } = {},
): Promise<App[]> {
  return sql<App[]>`
    select id, production_branch, created_at, created_by
    from apps
    where (${only}::text[] is null or id = any(${only}))
      and (${after}::text is null or id > ${after})
    order by id
    limit ${limit}
  `
}

/** Removes the app with its routes, deployments, logs and env vars; its builds are collected later. Null: there was none. */
export async function deleteApp(sql: Db, id: string): Promise<App | null> {
  const [app] = await sql<App[]>`
    delete from apps
    where id = ${id}
    returning id, production_branch, created_at, created_by
  `
  return app ?? null
}

/** Of these names, those that are an app's now. */
export async function findPresentApps(sql: Db, names: string[]): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`select id from apps where id = any(${names})`
  return rows.map(({ id }) => id)
}

/** Removes an app of which no deployment was ever begun: what a first push leaves that was refused. False: it is in use, or gone. */
export async function deleteUnusedApp(sql: Db, id: string): Promise<boolean> {
  const removed = await sql`
    delete from apps
    where id = ${id}
      and last_number = 0
    returning id
  `
  return removed.length === 1
}

/** The first branch pushed as `main` or `master` becomes production and stays it. Returns the production branch. */
export async function settleProductionBranch(sql: Db, id: string, pushed: string): Promise<string | null> {
  if (pushed === 'main' || pushed === 'master') {
    await sql`
      update apps
      set production_branch = ${pushed}
      where id = ${id}
        and production_branch is null
    `
  }
  return (await findApp(sql, id))?.productionBranch ?? null
}

/** Has the app's next build begin without what earlier ones have kept. */
export async function askForClearCaches(sql: Db, id: string): Promise<void> {
  await sql`
    update apps
    set clear_caches = true
    where id = ${id}
  `
}
