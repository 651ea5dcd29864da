import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { Route } from '../registry/routes.ts'
import { listDirectory, writeWhole } from './bundles/durable-file.ts'

const format = 1
const keptSnapshots = 3
const fileName = /^(\d{12})\.json$/

const routedDeployment = z.object({
  id: z.string().regex(/^[a-z0-9]{6,32}$/),
  version: z.string().regex(/^[0-9A-Za-z.-]{1,64}$/),
  number: z.number().int(),
  manifestKey: z.string(),
  manifestSha256: z.string().regex(/^[0-9a-f]{64}$/),
  envSnapshot: z.record(
    z.string(),
    z.object({ value: z.string(), runtime_only: z.boolean(), branch: z.string().optional() }),
  ),
  routeId: z.string().nullable().default(null),
  database: z
    .object({ name: z.string(), password: z.string(), embedded: z.boolean().default(false) })
    .nullable()
    .default(null),
})
const id = z.string().regex(/^[a-z0-9]{6,32}$/)
const routedRollout = z.object({
  id,
  stage: z.int().nonnegative(),
  segment: z.int().nonnegative(),
  from: id,
  to: id,
  slowMs: z.number().nullable(),
  tooSlowMs: z.number().nullable(),
  warmupSec: z.number().nonnegative(),
})
const route = z.object({
  id: z.string(),
  appId: z.string().regex(/^[a-z][a-z0-9-]{0,37}$/),
  environment: z.enum(['production', 'preview']),
  branch: z.string(),
  label: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
  generation: z.number().int().nonnegative(),
  weight: z.number().min(0).max(100),
  live: routedDeployment.nullable(),
  candidate: routedDeployment.nullable(),
  warm: routedDeployment.nullable().default(null),
  rollout: routedRollout.nullable().default(null),
  gate: z.string().nullable().default(null),
})
const snapshot = z.object({ format: z.literal(format), routes: z.array(route) })

/**
 * The last known routes on disk, for a start without Postgres. Variables in them stay sealed. Every write is a new numbered file; the last
 * three are kept, and one that does not read as written is passed over for the one before.
 */
export class RouteSnapshots {
  readonly #directory: string
  readonly #log: Log
  #last = 0
  #pending: Route[] | null = null
  #writing: Promise<void> = Promise.resolve()

  constructor(directory: string, { log }: { log: Log }) {
    this.#directory = directory
    this.#log = log
  }

  /** The newest snapshot that is valid; null when there is none. */
  async read(): Promise<Route[] | null> {
    const numbers = await this.#numbers()
    this.#last = numbers.at(-1) ?? 0
    for (const number of numbers.toReversed()) {
      try {
        return snapshot.parse(JSON.parse(await readFile(this.#path(number), 'utf8'))).routes
      } catch (thrown) {
        this.#log.error({ file: this.#path(number), reason: messageOf(thrown) }, 'route snapshot is not valid')
      }
    }
    return null
  }

  /** Writes the newest routes soon; of several changes in a row only the last is written. A failure is logged and the next change tries again. */
  write(routes: Route[]): void {
    const isQueued = this.#pending !== null
    this.#pending = routes
    if (isQueued) return
    this.#writing = this.#writing.then(() => this.#writePending())
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.#writing
  }

  async #writePending(): Promise<void> {
    const routes = this.#pending ?? []
    this.#pending = null
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 })
      await writeWhole(this.#path(this.#last + 1), JSON.stringify({ format, routes }))
      this.#last++
      const old = (await this.#numbers()).slice(0, -keptSnapshots)
      for (const number of old) await rm(this.#path(number), { force: true })
    } catch (thrown) {
      this.#log.error({ err: thrown }, 'route snapshot cannot be written')
    }
  }

  async #numbers(): Promise<number[]> {
    const names = await listDirectory(this.#directory)
    return names
      .flatMap((name) => fileName.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b)
  }

  #path(number: number): string {
    return join(this.#directory, `${String(number).padStart(12, '0')}.json`)
  }
}
