import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolderOf } from '../../build-workers/standing.ts'
import type { Sql } from '../../registry/sql.ts'
import type { Atelier } from './atelier.ts'
import { connectToApps } from './platform-database.ts'
import { processesOf } from './processes.ts'

/** A preview by the names under which it leaves something somewhere. */
export type KnownPreview = {
  app: string
  branch: string
  label: string
  isFork: boolean
  routeId: string
  deployments: string[]
  builds: { id: string; version: string }[]
  /** Of the app's own, whose name only the row knows. */
  database: string
}

export async function knowPreview(sql: Sql, { app, branch }: { app: string; branch: string }): Promise<KnownPreview> {
  const [route] = await sql<Pick<KnownPreview, 'routeId' | 'label' | 'isFork' | 'database'>[]>`
    select r.id as route_id, r.label, r.is_fork, a.name as database
    from routes r
    join app_databases a on a.route_id = r.id
    where r.app_id = ${app}
      and r.branch = ${branch}
  `
  if (!route) throw new Error(`${app} has no preview of ${branch} with a database`)
  const rows = await sql<{ id: string; buildId: string; version: string }[]>`
    select d.id, b.id as build_id, b.version
    from deployments d
    join builds b on b.id = d.build_id
    where d.route_id = ${route.routeId}
  `
  const builds = rows.map(({ buildId: id, version }) => ({ id, version }))
  return { app, branch, ...route, deployments: rows.map(({ id }) => id), builds }
}

type Look = { atelier: Atelier; sql: Sql; apps: Sql }

// Unpacked bundles are not among them: a proxy keeps the newest five that an app no longer needs, of whatever kind.
/** Everything that goes with a preview, whichever way it ends: what of it there is still. Whatever else a preview comes to keep belongs in this list. */
const places: Record<string, (preview: KnownPreview, look: Look) => string[] | Promise<string[]>> = {
  // Somebody else may have it by now.
  address: async ({ label, builds }, { atelier }) => {
    const shown = String((await atelier.get(label, '/')).headers['x-atelier-deployment'])
    return builds.some(({ version }) => version === shown) ? [label] : []
  },
  route: ({ routeId }, { sql }) => ids(sql`select id from routes where id = ${routeId}`),
  deployments: ({ deployments }, { sql }) =>
    ids(sql`
      select id
      from deployments
      where id = any(${deployments})
        and (route_id is not null or state not in ('removed', 'cancelled', 'failed'))
    `),
  processes: (preview, { atelier }) => processesOf(hostFolder(preview, atelier)).map(({ command }) => command),
  'hosts as reported': ({ deployments }, { sql }) =>
    ids(sql`select deployment_id as id from edge_hosts where deployment_id = any(${deployments})`),
  'row of its database': ({ database }, { sql }) =>
    ids(sql`select name as id from app_databases where name = ${database}`),
  database: ({ database }, { apps }) => ids(apps`select datname as id from pg_database where datname = ${database}`),
  'role of its database': ({ database }, { apps }) =>
    ids(apps`select rolname as id from pg_roles where rolname = ${database}`),
  data: ({ routeId }, { atelier }) => namesIn(join(atelier.home, 'data', routeId)),
  builds: ({ builds }, { sql }) =>
    ids(sql`select id from builds where id = any(${builds.map(({ id }) => id)}) and files_pruned_at is null`),
  'references to blobs': ({ builds }, { sql }) =>
    ids(sql`select sha256 as id from blob_refs where build_id = any(${builds.map(({ id }) => id)})`),
  'stored bundles': ({ app, builds }, { atelier }) =>
    builds.flatMap(({ id, version }) => namesIn(join(atelier.home, 'store/builds', app, version, id))),
  'head of its pull request, to be deployed': ({ app, branch }, { sql }) =>
    ids(sql`
      select h.branch as id
      from repo_heads h
      left join deployments d on d.id = h.deployment_id
      where h.app_id = ${app}
        and h.branch = ${branch}
        and (not h.is_open or h.due_at is not null or d.route_id is not null)
    `),
  // Those of the app's own previews are for all of them together.
  'caches of its builds': ({ app, label, isFork }, { atelier }) =>
    isFork ? namesIn(join(atelier.home, 'cache/apps', app, cacheFolderOf({ kind: 'fork', of: label }))) : [],
}

/** What there is of a preview, by place; places without anything are left out. */
export async function tracesOf(
  preview: KnownPreview,
  { atelier, sql }: Omit<Look, 'apps'>,
): Promise<Record<string, string[]>> {
  const apps = await connectToApps(atelier.home)
  try {
    const found: [string, string[]][] = []
    for (const [place, look] of Object.entries(places)) found.push([place, await look(preview, { atelier, sql, apps })])
    return Object.fromEntries(found.filter(([, left]) => left.length > 0))
  } finally {
    await apps.end()
  }
}

export const everyPlace = Object.keys(places)

function hostFolder({ app, deployments }: KnownPreview, { home }: Atelier): string {
  return join(home, 'edge/apps', app, deployments.at(-1) ?? '')
}

async function ids(rows: PromiseLike<{ id?: string }[]>): Promise<string[]> {
  return (await rows).map(({ id = '' }) => id)
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
