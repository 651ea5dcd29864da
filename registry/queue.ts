import { createPostgresBackend, withBackend } from 'bullmq'
import type { Config } from './config.ts'
import type { Log } from './log.ts'
import { parseDatabaseUrl } from './sql.ts'

type BuildJob = { deploymentId: string }

const queueName = 'builds'
const { Queue, Worker } = withBackend(createPostgresBackend)

export type BuildQueue = {
  /** Wakes a worker for this attempt of a deployment; adding the same attempt again does nothing. */
  enqueueBuild(deployment: { id: string; attempt: number }): Promise<void>
  close(): Promise<void>
}

/**
 * The queue is a wake-up: a job carries an id and may be lost or doubled. The deployment's row is the truth, and the reconciler makes up
 * for both. So a job that cannot be added is logged, not thrown: the row is there, and is built later.
 */
export function openQueue(config: Config, { log }: { log: Log }): BuildQueue {
  const queue = new Queue<BuildJob>(queueName, { connection: connectionOf(config, 2), skipWaitingForReady: true })
  queue.on('error', (error) => log.warn({ err: error }, 'build queue unreachable'))
  return {
    async enqueueBuild({ id, attempt }) {
      try {
        await queue.add(
          'build',
          { deploymentId: id },
          { jobId: `${id}-${attempt}`, removeOnComplete: true, removeOnFail: true },
        )
      } catch (thrown) {
        log.warn({ err: thrown, deployment: id }, 'build not enqueued, the reconciler will')
      }
    },
    close: () => queue.close(),
  }
}

export type BuildWorker = { close(): Promise<void> }

/** Calls `build` for each job, at most `concurrency` at once. What `build` throws ends the job, not the worker. */
export function startBuildWorker(
  config: Config,
  build: (deploymentId: string) => Promise<void>,
  { concurrency, log }: { concurrency: number; log: Log },
): BuildWorker {
  const worker = new Worker<BuildJob>(queueName, async (job) => build(String(job.data.deploymentId)), {
    connection: connectionOf(config, concurrency + 2),
    concurrency,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  })
  worker.on('error', (error) => log.warn({ err: error }, 'build queue unreachable'))
  worker.on('failed', (job, error) => log.error({ err: error, deployment: job?.data.deploymentId }, 'build job threw'))
  return { close: () => worker.close() }
}

function connectionOf(config: Config, max: number) {
  const { ssl, ...address } = parseDatabaseUrl(config.databaseUrl)
  return { ...address, ...(ssl ? { ssl: true } : {}), max, schema: 'bullmq', migrate: true }
}
