import { createPostgresBackend, createRedisBackend, type QueueOptions, withBackend } from 'bullmq'
import { Client, type ClientConfig } from 'pg'
import type { Config } from './config.ts'
import { DatabaseSocket } from './database-socket.ts'
import type { Log } from './log.ts'
import { openRedis, redisOptions, warnOfEviction } from './redis.ts'
import { parseDatabaseUrl } from './sql.ts'

export type BuildJob = { deploymentId: string }
/** A job as it was found, written by whoever can write to the queue. */
export type FoundJob = { id?: string | undefined; name: string; data: unknown }

export type JobQueue = {
  add(jobId: string, job: BuildJob): Promise<unknown>
  close(): Promise<void>
}
export type JobWorker = { close(force?: boolean): Promise<void> }

export type WorkerEvents = { onReady(): void; onError(error: Error): void; onFailed(job: string, error: Error): void }

/** Where BullMQ keeps its jobs. */
export type QueueBackend = {
  /** As messages name it, without what is secret. */
  name: string
  /** Redis, which is connected to again by itself; a queue on Postgres that lost its connection is opened again. */
  isOwnService: boolean
  openQueue(on: { onReady(): void; onError(error: Error): void }): JobQueue
  openWorker(work: (job: FoundJob) => Promise<void>, concurrency: number, on: WorkerEvents): JobWorker
}

/** Redis when ATELIER_QUEUE_URL names one, else the platform's own Postgres. */
export function queueBackend(config: Config, { log }: { log: Log }): QueueBackend {
  return config.queueUrl === null ? onPostgres(config) : onRedis(config.queueUrl, log)
}

const queueName = 'builds'
const keptFor = { removeOnComplete: true, removeOnFail: true }
const workerKeeps = { removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } }

function onPostgres(config: Config): QueueBackend {
  const { Queue, Worker } = withBackend(createPostgresBackend)
  return {
    name: 'Postgres',
    isOwnService: false,
    openQueue({ onError }) {
      const queue = new Queue<BuildJob>(queueName, { connection: connectionOf(config, 2), skipWaitingForReady: true })
      queue.on('error', onError)
      return {
        add: (jobId, job) => queue.add('build', job, { jobId, ...keptFor }),
        close: () => queue.close(),
      }
    },
    openWorker(work, concurrency, { onReady, onError, onFailed }) {
      const connection = connectionOf(config, concurrency + 2)
      const worker = new Worker(queueName, work, { connection, concurrency, ...workerKeeps })
      worker.on('ready', onReady).on('error', onError)
      return worker.on('failed', (job, error) => onFailed(job?.id ?? '', error))
    },
  }
}

// A push waits for the job to be added; a worker's connection also waits for jobs, for up to ten seconds at a time.
const pushWaitsMs = 2000
const workerWaitsMs = 20_000
// Keys of ours begin with it, so that a Redis user can be given these and no others.
const prefix = 'atelier'

function onRedis(queueUrl: string, log: Log): QueueBackend {
  const { Queue, Worker } = withBackend(createRedisBackend)
  // The version check would ask before there is a connection, and never again.
  const common = { prefix, skipVersionCheck: true } satisfies Omit<QueueOptions, 'connection'>
  return {
    name: `Redis at ${new URL(queueUrl).host}`,
    isOwnService: true,
    openQueue({ onReady, onError }) {
      const redis = openRedis(redisOptions(queueUrl, { answersWithinMs: pushWaitsMs }))
      redis.on('error', onError).on('ready', onReady)
      redis.once('ready', () => void warnOfEviction(redis, log))
      const queue = new Queue<BuildJob>(queueName, { ...common, connection: redis, skipWaitingForReady: true })
      queue.on('error', onError)
      return {
        async add(jobId, job) {
          // Known to be away: nobody waits for what would only be tried once more.
          if (redis.status === 'reconnecting') throw new Error('Redis is away')
          await queue.add('build', job, { jobId, ...keptFor })
        },
        async close() {
          await queue.close()
          redis.disconnect()
        },
      }
    },
    openWorker(work, concurrency, { onReady, onError, onFailed }) {
      const connection = {
        ...redisOptions(queueUrl, { answersWithinMs: workerWaitsMs }),
        maxRetriesPerRequest: null,
      }
      const worker = new Worker(queueName, work, { ...common, connection, concurrency, ...workerKeeps })
      worker.on('ready', onReady).on('error', onError)
      return worker.on('failed', (job, error) => onFailed(job?.id ?? '', error))
    },
  }
}

function connectionOf(config: Config, max: number) {
  const { ssl, ...address } = parseDatabaseUrl(config.databaseUrl)
  const stream = () => new DatabaseSocket({ answerWithinMs: ssl ? null : undefined })
  return {
    ...address,
    ...(ssl ? { ssl: true } : {}),
    stream,
    max,
    schema: 'bullmq',
    migrate: true,
    Client: HeardClient,
  }
}

// A client that BullMQ has checked out of its pool (to migrate) has no listener for errors, and a connection lost then would end the process.
// The query under way fails with the same error.
class HeardClient extends Client {
  constructor(config?: ClientConfig) {
    super(config)
    this.on('error', () => undefined)
  }
}
