import { type ClaimedRun, claimRun, endRun, endRunsOf } from '../../registry/app-runs.ts'
import type { Config } from '../../registry/config.ts'
import { AppError, toAppError } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import { channels, readRoutedDeployment } from '../../registry/routes.ts'
import type { Key } from '../../registry/secrets.ts'
import type { Sql } from '../../registry/sql.ts'
import { Wakeup } from '../../registry/wakeup.ts'
import { launchInApp } from '../../sandbox/isolate/app-command.ts'
import type { AppNetworks } from '../../sandbox/network/app-network.ts'
import type { LocalBundles } from '../bundles/local-bundles.ts'
import { openRoom, type RoomDeps } from './load.ts'
import { RunLine } from './run-line.ts'

export type AppRunsDeps = RoomDeps & {
  sql: Sql
  edgeId: string
  config: Config
  key: Key
  bundles: LocalBundles
  networks: Promise<AppNetworks>
  log: Log
  /** Rejects when no app may be started here now. */
  admit?: () => Promise<void>
}

const lookEveryMs = 5000
const atOnce = 8
const closeMs = 3000

/**
 * Runs commands that somebody has asked for, where their app runs: with its code, its variables, its network, its /data and its database. Which there are is in
 * Postgres; each is run once, by one edge.
 */
export class AppRuns {
  readonly #deps: AppRunsDeps
  readonly #stopping = new AbortController()
  readonly #wakeup = new Wakeup()
  readonly #running = new Map<string, { deploymentId: string; ended: Promise<void> }>()
  readonly #looking: Promise<void>
  #hasCleared = false

  constructor(deps: AppRunsDeps) {
    this.#deps = deps
    const wake = (payload: string) => payload.endsWith(':wanted') && this.#wakeup.wake()
    deps.sql
      .listen(channels.appRuns, wake, () => this.#wakeup.wake())
      .catch((err: unknown) => deps.log.debug({ err }, 'commands are looked for, not heard of'))
    this.#looking = this.#look()
  }

  /** Whether a command runs in this deployment. */
  uses(deploymentId: string): boolean {
    return [...this.#running.values()].some((run) => run.deploymentId === deploymentId)
  }

  /** Ends what runs, and says so if the registry answers. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#looking
    const ended = Promise.all([...this.#running.values()].map((run) => run.ended))
    await Promise.race([ended, new Promise((settle) => setTimeout(settle, closeMs).unref())])
  }

  // The registry may be away for as long as it likes, from the first moment on.
  async #look(): Promise<void> {
    const { sql, edgeId, key, log } = this.#deps
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        if (!this.#hasCleared) await endRunsOf(sql, edgeId)
        this.#hasCleared = true
        while (this.#running.size < atOnce && !signal.aborted) {
          const run = await claimRun(sql, edgeId, { key })
          if (!run) break
          this.#begin(run)
        }
      } catch (err) {
        log.debug({ err }, 'commands not looked for, tried again later')
      }
      await this.#wakeup.next({ timeoutMs: lookEveryMs, signal })
    }
  }

  #begin(run: ClaimedRun): void {
    const { log } = this.#deps
    const ended = this.#run(run)
      .catch((err: unknown) => log.error({ err, app: run.appId, run: run.id }, 'command lost'))
      .finally(() => {
        this.#running.delete(run.id)
        this.#wakeup.wake()
      })
    this.#running.set(run.id, { deploymentId: run.deploymentId, ended })
  }

  async #run(run: ClaimedRun): Promise<void> {
    const { sql, key, edgeId, log } = this.#deps
    const line = await RunLine.open(run.id, { sql, key, edgeId, log, stopping: this.#stopping.signal })
    try {
      const exit = await this.#launch(run, line)
      await line.flush()
      await endRun(sql, run.id, line.endOf(exit))
      log.info({ app: run.appId, run: run.id, code: exit.code, cause: exit.cause }, 'command ended')
    } catch (thrown) {
      const { code, message, fault } = toAppError(thrown)
      if (fault === 'platform') log.error({ err: thrown, app: run.appId, run: run.id }, 'command not run')
      await endRun(sql, run.id, { cause: 'refused', errorCode: code, reason: message })
    } finally {
      await line.close()
    }
  }

  async #launch(run: ClaimedRun, line: RunLine) {
    const { sql, bundles, networks, admit } = this.#deps
    await admit?.()
    const ref = await readRoutedDeployment(sql, run.deploymentId)
    if (!ref) throw new AppError('VERSION_PRUNED', `the version of ${run.appId} that was live is no longer kept`)
    const { spec, database } = await openRoom(ref, await bundles.bring(ref), this.#deps)
    const host = await (await networks).start(
      (network, env) =>
        launchInApp({
          ...spec,
          ...network,
          name: `a command of ${spec.name}`,
          env: { ...env, ...spec.env },
          command: run.command,
          input: run.takesInput,
          timeoutMs: run.timeoutSec * 1000,
          onOutput: (stream, chunk) => line.write(stream, chunk),
          signal: line.signal,
        }),
      { database },
    )
    line.carry(host)
    return host.exited
  }
}
