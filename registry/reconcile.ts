import { findLeftDatabases, forgetDatabase } from './app-databases.ts'
import { pruneAppLogs } from './app-logs.ts'
import { pruneRuns } from './app-runs.ts'
import { pruneAudit } from './audit.ts'
import type { BundleStore } from './bundle-store/contract.ts'
import { requeueAbandoned } from './claims.ts'
import type { Config } from './config.ts'
import { dropAppDatabase } from './database-server.ts'
import type { Deployment } from './deployments.ts'
import { forgetDeadEdges } from './edges.ts'
import type { Log } from './log.ts'
import { prunePreviewHistory } from './previews.ts'
import { prunePurges } from './purges.ts'
import type { BuildQueue } from './queue.ts'
import { bringOut } from './release.ts'
import { pruneRepeats } from './repeats.ts'
import { collectBlobs, collectDeletedApps, pruneBuilds } from './retention.ts'
import { pruneRollouts } from './rollout-retention.ts'
import { pruneBins } from './route-bins.ts'
import { pruneSources } from './sources.ts'
import type { Db, Sql } from './sql.ts'
import { pruneWebhookEvents } from './webhooks/deliveries.ts'

export type ReconcileDeps = { sql: Sql; queue: BuildQueue; store: BundleStore; config: Config; log: Log }

/**
 * Brings rows and jobs together again; run at boot, every 30 s, and when a queue that was away is back. A row whose worker died is queued again, a queued row without a job gets
 * one (adding it twice does nothing), a prepared deployment that no push waits for goes live. A job without a row ends by itself: the
 * worker finds nothing to claim. A ref that has not been moved is the gateway's to finish.
 */
export async function reconcile({ sql, queue, config, log }: ReconcileDeps): Promise<void> {
  for (const deployment of await requeueAbandoned(sql, {}))
    log.warn({ app: deployment.appId, deployment: deployment.id }, 'build worker lost, queued again')
  for (const deployment of await startable(sql)) await queue.enqueueBuild(deployment)
  for (const { id, appId } of await preparedWithoutRef(sql)) {
    const out = await bringOut(sql, id, { config, by: 'platform' })
    if (out) log.info({ app: appId, deployment: id, state: out.state }, 'prepared deployment brought out')
  }
}

/**
 * Drops the databases of previews and apps that are gone; run after a removal and every half a minute, for it may be missed: the server was away, the
 * process ended. One that is not dropped is named in the log, and tried again.
 */
export async function dropLeftDatabases({
  sql,
  config,
  log,
}: Pick<ReconcileDeps, 'sql' | 'config' | 'log'>): Promise<void> {
  for (const { name, embedded } of await findLeftDatabases(sql)) {
    try {
      await dropAppDatabase(config, { name, embedded })
      if (await forgetDatabase(sql, name)) log.info({ database: name }, 'database of a removed app or preview dropped')
    } catch (err) {
      log.warn({ err, database: name }, 'database not dropped, tried again later')
    }
  }
}

/** Throws away what nobody needs any more; run every ten minutes. */
export async function tidy({ sql, store, config, log }: ReconcileDeps): Promise<void> {
  await forgetDeadEdges(sql)
  await pruneAppLogs(sql)
  await pruneRuns(sql)
  await pruneRepeats(sql)
  await prunePreviewHistory(sql)
  await prunePurges(sql)
  await pruneBins(sql)
  await pruneRollouts(sql)
  await pruneWebhookEvents(sql)
  const entries = await pruneAudit(sql, config.auditDays)
  if (entries > 0) log.info({ entries, days: config.auditDays }, 'old entries of the audit log removed')
  for (const build of await pruneBuilds(sql, store))
    log.info({ app: build.appId, build: build.id, version: build.version }, 'build pruned')
  for (const app of await collectDeletedApps(sql, store)) log.info({ app }, 'bundles of a deleted app removed')
  const sources = await pruneSources(sql, store)
  if (sources > 0) log.info({ sources }, 'sources pruned')
  const blobs = await collectBlobs(sql, store)
  if (blobs > 0) log.info({ blobs }, 'blobs collected')
}

// The newest queued deployment of each route on which nothing is running.
async function startable(sql: Db): Promise<Deployment[]> {
  return sql<Deployment[]>`
    select distinct on (d.route_id) d.*
    from deployments d
    where d.state = 'queued'
      and not exists (
        select from deployments other
        where other.route_id = d.route_id
          and other.state in ('building', 'built', 'uploading')
      )
    order by d.route_id, d.number desc
  `
}

async function preparedWithoutRef(sql: Db): Promise<{ id: string; appId: string }[]> {
  return sql<{ id: string; appId: string }[]>`
    select id, app_id
    from deployments
    where state = 'uploading'
      and prepared_at < now() - interval '5 seconds'
      and (source <> 'git' or git_origin is not null or ref_moved_at is not null)
  `
}
