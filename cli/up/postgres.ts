import { chmod, chown, mkdir, open, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { AppError, messageOf } from '../../registry/errors.ts'
import { Backoff, pause } from './backoff.ts'
import { OwnProcess } from './own-process.ts'
import { findPostgres } from './postgres-binaries.ts'
import { createCluster, inspectCluster } from './postgres-cluster.ts'
import { durableSettings, losable, type PostgresSettings, settingArgs } from './postgres-settings.ts'
import { type PostgresUser, type PostgresUserName, postgresUser } from './postgres-user.ts'
import { endLeftover, readPostmaster } from './postmaster.ts'
import { emptyOver, turnOver } from './role-log.ts'

export type PostgresOptions = {
  /** How a person is told of it; default: Postgres. */
  title?: string
  settings?: PostgresSettings
  /** Whose process it is when this one is root's. */
  userName?: PostgresUserName
  /** The cluster; made when missing. */
  dataDir: string
  /** Where its socket goes; made with mode 0700. */
  socketDir: string
  /** Postgres writes its own log here. */
  logFile: string
  /** Where a copy of the binaries goes when the user it runs as cannot reach the checkout. */
  copyDir: string
  /** Of the superuser `postgres`. */
  password: string
  /** False only for tests: a power cut may lose everything. */
  durable?: boolean
  /** Gives up starting. */
  signal?: AbortSignal
  /** Something a person should see: it was left over, it crashed. */
  onNotice?: (sentence: string) => void
}

const tendEveryMs = 60_000

/** Postgres on a unix socket of its own and nowhere else; started again when it crashes, until `stop`. */
export class EmbeddedPostgres {
  readonly #options: PostgresOptions
  readonly #user: PostgresUser | null
  readonly #program: string
  readonly #stopping = new AbortController()
  #process: OwnProcess
  readonly #guard: Promise<void>
  readonly #tending: NodeJS.Timeout

  /**
   * Resolves when it takes connections. Throws HOME_UNUSABLE for a damaged cluster, DATABASE_UNAVAILABLE with Postgres' own last words
   * when it ends before.
   */
  static async start(options: PostgresOptions): Promise<EmbeddedPostgres> {
    const user = await postgresUser(options.userName)
    const { initdb, postgres } = await findPostgres(options.copyDir, { anotherUser: user !== null })
    const cluster = { dataDir: options.dataDir, user }
    if ((await inspectCluster(cluster)) === 'missing') await createCluster(cluster, { initdb, ...options })
    if ((await endLeftover(options.dataDir)) === 'ended')
      options.onNotice?.(`ended the ${titleOf(options)} that an earlier run left`)
    await prepareSocketDir(options.socketDir, user)
    return new EmbeddedPostgres(options, user, postgres, await startOnce(postgres, user, options))
  }

  private constructor(options: PostgresOptions, user: PostgresUser | null, program: string, process: OwnProcess) {
    this.#options = options
    this.#user = user
    this.#program = program
    this.#process = process
    this.#guard = this.#restartOnCrash()
    this.#tending = setInterval(() => void this.#tendLog(), tendEveryMs).unref()
  }

  get pid(): number {
    return this.#process.pid
  }

  /** Cuts its connections and waits until it has written everything down. `hurry` stops it at once; nothing committed is lost either way. */
  async stop({ hurry = false }: { hurry?: boolean } = {}): Promise<void> {
    this.#stopping.abort()
    clearInterval(this.#tending)
    this.#process.signal(hurry ? 'SIGQUIT' : 'SIGINT')
    await this.#guard
  }

  // Whoever can connect can have it write lines.
  async #tendLog(): Promise<void> {
    await emptyOver(this.#options.logFile).catch((thrown: unknown) => this.#options.onNotice?.(messageOf(thrown)))
  }

  async #restartOnCrash(): Promise<void> {
    const { signal } = this.#stopping
    const backoff = new Backoff()
    let { livedMs } = await this.#process.exited
    while (!signal.aborted) {
      this.#options.onNotice?.(
        `${titleOf(this.#options)} ended unexpectedly and is started again; see ${this.#options.logFile}`,
      )
      await pause(backoff.delayAfter(livedMs), signal)
      if (signal.aborted) return
      try {
        await endLeftover(this.#options.dataDir)
        this.#process = await startOnce(this.#program, this.#user, { ...this.#options, signal })
        // Asked to stop in the very moment it was ready.
        if (signal.aborted) this.#process.signal('SIGINT')
        livedMs = (await this.#process.exited).livedMs
      } catch (error) {
        this.#options.onNotice?.(messageOf(error))
        livedMs = 0
      }
    }
  }
}

/** `postgres://…?host=<socket directory>`, as registry/sql.ts reads it. */
export function postgresUrl(at: { socketDir: string; role: string; password: string; database: string }): string {
  const credentials = `${encodeURIComponent(at.role)}:${encodeURIComponent(at.password)}`
  return `postgres://${credentials}@localhost/${at.database}?host=${encodeURIComponent(at.socketDir)}`
}

function titleOf({ title = 'Postgres' }: PostgresOptions): string {
  return title
}

async function prepareSocketDir(socketDir: string, user: PostgresUser | null): Promise<void> {
  await mkdir(socketDir, { recursive: true })
  await chmod(socketDir, 0o700)
  if (user) await chown(socketDir, user.uid, user.gid)
}

async function startOnce(program: string, user: PostgresUser | null, options: PostgresOptions): Promise<OwnProcess> {
  const { dataDir, socketDir, logFile, durable = true, settings = durableSettings, signal } = options
  await turnOver(logFile)
  const log = await open(logFile, 'a', 0o600)
  const { size: logStart } = await log.stat()
  const postgres = OwnProcess.spawn(
    program,
    ['-D', dataDir, ...settingArgs({ ...settings, ...(durable ? {} : losable), socketDir })],
    {
      user,
      stdio: ['ignore', log.fd, log.fd],
      cwd: '/',
      env: { LC_ALL: 'C', TZ: 'UTC' },
      // The patient way to stop: the roles, which end by themselves then, finish with it first.
      whenOrphaned: 'SIGTERM',
    },
  )
  await log.close()

  while (postgres.isRunning) {
    if (signal?.aborted) postgres.signal('SIGINT')
    const postmaster = await readPostmaster(dataDir)
    if (postmaster?.pid === postgres.pid && postmaster.status === 'ready') return postgres
    await sleep(5)
  }
  const words = (await readFile(logFile)).subarray(logStart).toString().trim().split('\n').slice(-5).join('\n  ')
  throw new AppError(
    'DATABASE_UNAVAILABLE',
    `${titleOf(options)} does not start in ${dataDir}; its last words:\n  ${words}`,
  )
}
