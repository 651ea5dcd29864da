import { appendBuildLog, StepLog } from '../registry/build-logs.ts'
import { readLiveVersion } from '../registry/deploy-commands.ts'
import { type Deployment, findDeployment } from '../registry/deployments.ts'
import { openEnvSnapshot } from '../registry/env-vars.ts'
import { type AppError, toAppError } from '../registry/errors.ts'
import {
  claimHook,
  endHook,
  type HookRun,
  keepHook,
  maxHookAttempts,
  releaseHook,
  releaseHooksOf,
} from '../registry/hook-runs.ts'
import { Mask } from '../registry/mask.ts'
import { channels } from '../registry/routes.ts'
import { every } from '../registry/schedule.ts'
import { Wakeup } from '../registry/wakeup.ts'
import { type AppDatabaseDeps, databaseOf } from './app-database.ts'
import type { BuildDeps } from './build.ts'
import { inAppNetwork } from './deploy-commands.ts'
import { runDeployHook } from './hooks.ts'
import { openSource } from './open-source.ts'

export type LateHooksDeps = Pick<
  BuildDeps,
  'sql' | 'store' | 'config' | 'key' | 'npm' | 'networks' | 'caches' | 'appNetworks' | 'isolation' | 'workerId' | 'log'
>

const lookEveryMs = 20_000
const heartbeatMs = 5000
const againAfterSec = 15
const atOnce = 4

/**
 * Runs postDeploy and onRollback, in the app's source with its dependencies. What is to run is in Postgres, written with the move it belongs to, and
 * a notification only wakes: a hook that waited while no worker ran is run by the next one, and one that has ended is never run again. One that was
 * cut short by the end of its worker begins anew.
 */
export class LateHooks {
  readonly #deps: LateHooksDeps
  readonly #stopping = new AbortController()
  readonly #wakeup: Wakeup
  readonly #runs = new Set<Promise<void>>()
  readonly #looking: Promise<void>

  static async start(deps: LateHooksDeps): Promise<LateHooks> {
    await releaseHooksOf(deps.sql, deps.workerId)
    return new LateHooks(deps, await Wakeup.on(deps.sql, [channels.hookRuns]))
  }

  private constructor(deps: LateHooksDeps, wakeup: Wakeup) {
    this.#deps = deps
    this.#wakeup = wakeup
    this.#looking = this.#look()
  }

  /** Ends what is under way; another worker begins it anew, or this one after its next start. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#looking
    await Promise.all(this.#runs)
    await this.#wakeup.close()
  }

  async #look(): Promise<void> {
    const { sql, workerId, log } = this.#deps
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        while (this.#runs.size < atOnce && !signal.aborted) {
          const run = await claimHook(sql, workerId)
          if (!run) break
          this.#begin(run)
        }
      } catch (thrown) {
        log.warn({ err: thrown }, 'hooks not looked for, tried again later')
      }
      await this.#wakeup.next({ timeoutMs: lookEveryMs, signal })
    }
  }

  #begin(run: HookRun): void {
    const running = runLateHook(run, this.#deps, this.#stopping.signal)
      .catch((err: unknown) => this.#deps.log.error({ err, deployment: run.deploymentId }, 'hook lost'))
      .finally(() => {
        this.#runs.delete(running)
        this.#wakeup.wake()
      })
    this.#runs.add(running)
  }
}

async function runLateHook(run: HookRun, deps: LateHooksDeps, stopping: AbortSignal): Promise<void> {
  const { sql, log, key } = deps
  const deployment = await findDeployment(sql, run.deploymentId)
  if (!deployment) return
  const fenced = new AbortController()
  const keeping = every(
    heartbeatMs,
    async () => {
      if (!(await keepHook(sql, run))) fenced.abort()
    },
    { log, name: 'heartbeat of a hook' },
  )
  const scope = { app: deployment.appId, environment: deployment.environment }
  const secrets = openEnvSnapshot(deployment.envSnapshot, { scope, key, purpose: 'run' })
  const mask = new Mask(secrets)
  const hide = (more: Record<string, string>) => mask.hide(more)
  const steps = new StepLog(
    (lines) =>
      appendBuildLog(
        sql,
        deployment.id,
        lines.map((line) => mask.line(line)),
      ),
    {
      onError: (err) => log.error({ err, deployment: deployment.id }, 'build log lines lost'),
    },
  )
  try {
    if (run.attempt > maxHookAttempts) return await giveUp(run, steps, deps)
    if (run.attempt > 1) steps.line(`-----> Again       ${run.hook} was cut short; it begins anew`)
    const signal = AbortSignal.any([stopping, fenced.signal])
    await runInSource(run, deployment, { ...deps, steps, hide, mask, signal })
    await steps.flush()
    await endHook(sql, run, null)
    log.info({ app: deployment.appId, deployment: deployment.id, hook: run.hook }, 'hook ran')
  } catch (thrown) {
    if (fenced.signal.aborted) return
    if (stopping.aborted) await releaseHook(sql, run, { afterSec: 0, isCounted: false })
    else await settle(run, toAppError(thrown), { ...deps, steps, mask })
  } finally {
    await steps.flush()
    await keeping.close()
  }
}

async function runInSource(
  run: HookRun,
  deployment: Deployment,
  deps: LateHooksDeps & Pick<AppDatabaseDeps, 'hide'> & { steps: StepLog; mask: Mask; signal: AbortSignal },
): Promise<void> {
  const { sql, steps, appNetworks, isolation } = deps
  await isolation.demand()
  await using cleanup = new AsyncDisposableStack()
  // What is live now is what a version was taken back for.
  const previous = run.hook === 'onRollback' ? await readLiveVersion(sql, deployment) : run.previousVersion
  const place = { name: `hook-${run.id}-${run.attempt}`, previous, quiet: true }
  const { context } = await openSource(deployment, place, { ...deps, log: steps, cleanup })
  await context.installer?.installer.installAll()
  const database = await databaseOf(deployment, deps)
  await inAppNetwork(context, { appNetworks, database }, (inside, programs) =>
    runDeployHook(inside, run.hook, programs),
  )
}

async function settle(
  run: HookRun,
  error: AppError,
  { sql, steps, mask, log }: LateHooksDeps & { steps: StepLog; mask: Mask },
): Promise<void> {
  const [reason = '', ...details] = mask.text(error.message)
  for (const line of details) steps.line(`       ${line.trimEnd()}`)
  if (error.fault === 'platform') {
    log.error({ err: error, deployment: run.deploymentId, hook: run.hook }, 'hook failed by our fault')
    return releaseHook(sql, run, { afterSec: againAfterSec, isCounted: true })
  }
  steps.line(`-----> Failed      ${reason}; what is live stays as it is`)
  await steps.flush()
  await endHook(sql, run, reason.slice(0, 500))
}

async function giveUp(run: HookRun, steps: StepLog, { sql }: LateHooksDeps): Promise<void> {
  const reason = `${run.hook} was cut short ${maxHookAttempts} times and is not run again`
  steps.line(`-----> Failed      ${reason}`)
  await endHook(sql, run, reason)
}
