import { z } from 'zod'
import type { Config } from './config.ts'
import { answerWithin } from './deadline.ts'
import type { Log } from './log.ts'
import { type FoundJob, type JobQueue, type JobWorker, type QueueBackend, queueBackend } from './queue-backend.ts'

export type BuildQueue = {
  /** Wakes a worker for this attempt of a deployment, within four seconds or not at all; adding the same attempt again does nothing. */
  enqueueBuild(deployment: { id: string; attempt: number }): Promise<void>
  close(): Promise<void>
}

/**
 * The queue is a wake-up: a job carries an id and may be lost or doubled. The deployment's row is the truth, and the reconciler makes up
 * for both. So a job that cannot be added is logged, not thrown: the row is there, and is built later.
 */
export function openQueue(config: Config, { log }: { log: Log }): WakeUps {
  return new WakeUps(queueBackend(config, { log }), { log })
}

/** Calls `build` for each job, at most `concurrency` at once. */
export function startBuildWorker(
  config: Config,
  build: (deploymentId: string) => Promise<void>,
  { concurrency, log }: { concurrency: number; log: Log },
): BuildWorker {
  return new BuildWorker(queueBackend(config, { log }), build, { concurrency, log })
}

const addWithinMs = 2000
// A queue that did not answer is not asked by everybody in turn: each would wait as long.
const restMs = 5000

class WakeUps implements BuildQueue {
  /** Called when a queue that was away is back: what was not enqueued meanwhile can be. */
  onReturn: () => void = () => undefined
  readonly #backend: QueueBackend
  readonly #log: Log
  readonly #health: Health
  #queue: JobQueue
  #restUntil = 0

  constructor(backend: QueueBackend, { log }: { log: Log }) {
    this.#backend = backend
    this.#log = log
    this.#health = new Health(backend, { log, onReturn: () => this.onReturn() })
    this.#queue = this.#open()
  }

  async enqueueBuild({ id, attempt }: { id: string; attempt: number }): Promise<void> {
    try {
      if (performance.now() < this.#restUntil) throw new Error('it did not answer a moment ago')
      try {
        await this.#add(id, attempt)
      } catch (thrown) {
        if (this.#backend.isOwnService) throw thrown
        // A queue that was opened while the database was away never connects again, so after a failure a new one is asked, once.
        this.#log.warn({ err: thrown, deployment: id }, 'build queue broken, opened again')
        this.#reopen()
        await this.#add(id, attempt)
      }
      this.#health.answers()
    } catch (thrown) {
      this.#log.warn({ err: thrown, deployment: id }, 'build not enqueued, the reconciler will')
    }
  }

  close(): Promise<void> {
    return closeWithin(this.#queue, queueClosesWithinMs, this.#log)
  }

  #open(): JobQueue {
    return this.#backend.openQueue({
      onReady: () => this.#health.answers(),
      onError: (error) => this.#health.fails(error),
    })
  }

  #reopen(): void {
    const broken = this.#queue
    this.#queue = this.#open()
    broken.close().catch((thrown: unknown) => this.#log.debug({ err: thrown }, 'broken build queue not closed'))
  }

  async #add(id: string, attempt: number): Promise<void> {
    const adding = this.#queue.add(`${id}-${attempt}`, { deploymentId: id })
    await answerWithin(adding, addWithinMs, () => {
      this.#restUntil = performance.now() + restMs
      return new Error(`no answer within ${addWithinMs / 1000} s`)
    })
  }
}

const restartAfterMs = 1000

/**
 * What `build` throws ends the job, not the worker. An error of the queue itself
 * ends BullMQ's worker and starts another a second later: left alone it asks again at once and for ever, with no pause in which a timer
 * could run. Builds under way are not touched and count as before; should their job come again, the claim is taken.
 */
export class BuildWorker {
  readonly #start: () => JobWorker
  readonly #log: Log
  readonly #health: Health
  readonly #seats: Seats
  #worker: JobWorker
  #restart: NodeJS.Timeout | null = null
  #isClosed = false

  constructor(
    backend: QueueBackend,
    build: (deploymentId: string) => Promise<void>,
    { concurrency, log }: { concurrency: number; log: Log },
  ) {
    this.#log = log
    this.#health = new Health(backend, { log })
    this.#seats = new Seats(concurrency)
    const work = async (job: FoundJob) => {
      const deploymentId = deploymentOf(job)
      if (deploymentId === null)
        return log.error({ job: job.id?.slice(0, 60) }, 'build job dropped: not made by Atelier')
      await this.#seats.take(() => build(deploymentId))
    }
    this.#start = () => {
      const worker: JobWorker = backend.openWorker(work, concurrency, {
        onReady: () => this.#health.answers(),
        onError: (error) => this.#replace(() => worker, error),
        onFailed: (job, error) => log.error({ err: error, job }, 'build job threw'),
      })
      return worker
    }
    this.#worker = this.#start()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#restart) clearTimeout(this.#restart)
    // One without a connection would wait for it in order to end it.
    if (this.#health.state !== 'answers')
      this.#worker.close(true).catch((err: unknown) => this.#log.debug({ err }, 'not closed'))
    else await closeWithin(this.#worker, workerClosesWithinMs, this.#log)
    await this.#seats.empty()
  }

  #replace(broken: () => JobWorker, error: Error): void {
    if (this.#restart || this.#isClosed || broken() !== this.#worker) return
    this.#health.fails(error)
    this.#worker.close(true).catch((err: unknown) => this.#log.debug({ err }, 'broken build queue not closed'))
    this.#restart = setTimeout(() => {
      this.#restart = null
      this.#worker = this.#start()
    }, restartAfterMs)
  }
}

const buildJob = z.strictObject({ deploymentId: z.string().regex(/^[a-z0-9]{1,32}$/) })

/**
 * The deployment a job names; null unless it looks exactly as `enqueueBuild` writes it. Whoever can write to the queue can wake a
 * deployment that waits in Postgres, and nothing else: what is built, and for whom, is in its row.
 */
function deploymentOf({ id, name, data }: FoundJob): string | null {
  const read = buildJob.safeParse(data)
  if (name !== 'build' || !read.success) return null
  const { deploymentId } = read.data
  return id?.startsWith(`${deploymentId}-`) && /^\d{1,6}$/.test(id.slice(deploymentId.length + 1)) ? deploymentId : null
}

/** As many at once as there are seats, whichever worker they came from. */
class Seats {
  readonly #count: number
  readonly #waiting: (() => void)[] = []
  #taken = 0
  #onEmpty: () => void = () => undefined

  constructor(count: number) {
    this.#count = count
  }

  async take(work: () => Promise<void>): Promise<void> {
    if (this.#taken >= this.#count) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#taken += 1
    try {
      await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#taken -= 1
      if (this.#taken === 0) this.#onEmpty()
    }
  }

  async empty(): Promise<void> {
    if (this.#taken > 0)
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve
      })
  }
}

/** Says once that the queue is away, and once that it is back. */
class Health {
  readonly #backend: QueueBackend
  readonly #log: Log
  readonly #onReturn: (() => void) | undefined
  state: 'unknown' | 'away' | 'answers' = 'unknown'

  constructor(backend: QueueBackend, { log, onReturn }: { log: Log; onReturn?: (() => void) | undefined }) {
    this.#backend = backend
    this.#log = log
    this.#onReturn = onReturn
  }

  fails(error: Error): void {
    if (this.state === 'away') {
      this.#log.debug({ err: error }, 'build queue still unreachable')
      return
    }
    this.state = 'away'
    const { isOwnService, name } = this.#backend
    // Whoever runs a service of its own for it should look there; that Postgres is away is said by everybody else.
    this.#log[isOwnService ? 'error' : 'warn'](
      { err: error, queue: name },
      'build queue unreachable; pushes are taken, and built when it is back',
    )
  }

  answers(): void {
    const wasAway = this.state === 'away'
    this.state = 'answers'
    if (!wasAway) return
    this.#log.warn({ queue: this.#backend.name }, 'build queue reachable again')
    this.#onReturn?.()
  }
}

const queueClosesWithinMs = 2000
// A worker waits for its builds, which clean up after themselves.
const workerClosesWithinMs = 12_000

// A queue that is away must not keep a process from ending.
async function closeWithin(queue: JobQueue | JobWorker, withinMs: number, log: Log): Promise<void> {
  try {
    await answerWithin(queue.close(), withinMs, () => new Error(`not closed within ${withinMs / 1000} s`))
  } catch (thrown) {
    log.debug({ err: thrown }, 'build queue not closed in order')
    if ('add' in queue) return
    queue.close(true).catch((again: unknown) => log.debug({ err: again }, 'build queue not closed'))
  }
}
