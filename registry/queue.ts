import { createPostgresBackend, withBackend } from 'bullmq'
import { Client, type ClientConfig } from 'pg'
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
  const open = () => {
    const queue = new Queue<BuildJob>(queueName, { connection: connectionOf(config, 2), skipWaitingForReady: true })
    return queue.on('error', (error) => log.warn({ err: error }, 'build queue unreachable'))
  }
  let queue = open()
  // A queue that was opened while the database was away never connects again, so after a failure a new one is asked, once.
  const reopen = () => {
    const broken = queue
    queue = open()
    broken.close().catch((thrown: unknown) => log.debug({ err: thrown }, 'broken build queue not closed'))
  }
  return {
    async enqueueBuild({ id, attempt }) {
      const add = () => {
        const once = { jobId: `${id}-${attempt}`, removeOnComplete: true, removeOnFail: true }
        return queue.add('build', { deploymentId: id }, once)
      }
      try {
        await add()
      } catch (thrown) {
        log.warn({ err: thrown, deployment: id }, 'build queue broken, opened again')
        reopen()
        await add().catch((again: unknown) =>
          log.warn({ err: again, deployment: id }, 'build not enqueued, the reconciler will'),
        )
      }
    },
    close: () => queue.close(),
  }
}

/** Calls `build` for each job, at most `concurrency` at once. */
export function startBuildWorker(
  config: Config,
  build: (deploymentId: string) => Promise<void>,
  options: { concurrency: number; log: Log },
): BuildWorker {
  return new BuildWorker(config, build, options)
}

const restartAfterMs = 1000

type Closable = { close(force?: boolean): Promise<void> }

/**
 * What `build` throws ends the job, not the worker. An error of the queue itself
 * ends BullMQ's worker and starts another a second later: left alone it asks again at once and for ever, with no pause in which a timer
 * could run. Builds under way are not touched; should their job come again, the claim is taken.
 */
export class BuildWorker {
  readonly #start: () => Closable
  #worker: Closable
  #restart: NodeJS.Timeout | null = null
  #isClosed = false

  constructor(
    config: Config,
    build: (deploymentId: string) => Promise<void>,
    { concurrency, log }: { concurrency: number; log: Log },
  ) {
    this.#start = () => {
      const worker = new Worker<BuildJob>(queueName, async (job) => build(String(job.data.deploymentId)), {
        connection: connectionOf(config, concurrency + 2),
        concurrency,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: 0 },
      })
      worker.on('failed', (job, error) =>
        log.error({ err: error, deployment: job?.data.deploymentId }, 'build job threw'),
      )
      return worker.on('error', (error) => {
        if (worker !== this.#worker || this.#restart || this.#isClosed) return
        log.warn({ err: error }, 'build queue unreachable')
        this.#replace(worker, log)
      })
    }
    this.#worker = this.#start()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#restart) clearTimeout(this.#restart)
    await this.#worker.close()
  }

  #replace(broken: Closable, log: Log): void {
    broken.close(true).catch((thrown: unknown) => log.debug({ err: thrown }, 'broken build queue not closed'))
    this.#restart = setTimeout(() => {
      this.#restart = null
      this.#worker = this.#start()
    }, restartAfterMs)
  }
}

function connectionOf(config: Config, max: number) {
  const { ssl, ...address } = parseDatabaseUrl(config.databaseUrl)
  return { ...address, ...(ssl ? { ssl: true } : {}), max, schema: 'bullmq', migrate: true, Client: HeardClient }
}

// A client that BullMQ has checked out of its pool (to migrate) has no listener for errors, and a connection lost then would end the process.
// The query under way fails with the same error.
class HeardClient extends Client {
  constructor(config?: ClientConfig) {
    super(config)
    this.on('error', () => undefined)
  }
}
