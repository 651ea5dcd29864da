import { appendBuildLog, StepLog } from '../registry/build-logs.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import { adoptBuild, type Claim, claimBuild, recordBuild, releaseClaim } from '../registry/claims.ts'
import type { Config } from '../registry/config.ts'
import { type DeploymentState, findDeployment, moveDeployment, nextQueued } from '../registry/deployments.ts'
import { openEnvSnapshot } from '../registry/env-vars.ts'
import { type AppError, toAppError } from '../registry/errors.ts'
import { isWeak, readIsolation } from '../registry/isolation.ts'
import type { Log } from '../registry/log.ts'
import { Mask } from '../registry/mask.ts'
import type { BuildQueue } from '../registry/queue.ts'
import { readBuildVersion } from '../registry/reusable-builds.ts'
import type { Key } from '../registry/secrets.ts'
import type { Sql } from '../registry/sql.ts'
import { shortVersion } from '../registry/version.ts'
import type { IsolationWatch } from '../sandbox/isolation-watch.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { BuildNetworks } from '../sandbox/network/build-network.ts'
import { type Attempts, Fenced, keepClaim, Stopping } from './attempt.ts'
import type { BuildCaches } from './build-caches.ts'
import { runBeforeDeployAgain } from './deploy-again.ts'
import { fetchSource } from './git-fetch.ts'
import type { GitNetworks } from './git-network.ts'
import type { HostNpm } from './host-npm.ts'
import { makeBuild } from './make-build.ts'
import { putLive } from './put-live.ts'

export type BuildDeps = {
  sql: Sql
  store: BundleStore
  queue: BuildQueue
  config: Config
  key: Key
  npm: () => Promise<HostNpm>
  networks: BuildNetworks
  gitNetworks: GitNetworks
  caches: BuildCaches
  appNetworks: Promise<AppNetworks>
  isolation: Pick<IsolationWatch, 'current' | 'demand'>
  attempts: Attempts
  workerId: string
  log: Log
}

/**
 * Takes one deployment from the queue to its users, or to the reason why not. A job may come twice, late or for a deployment that is long
 * done: claiming decides, raises the attempt number, and whatever is written later is written for that attempt only.
 */
export async function build(deploymentId: string, deps: BuildDeps): Promise<void> {
  const { sql, attempts, workerId } = deps
  const controller = attempts.begin(deploymentId)
  try {
    if (controller.signal.aborted) return
    const claim = await claimBuild(sql, deploymentId, workerId)
    if (!claim) return await explainUnclaimed(deploymentId, deps)
    // Cleaning up comes last: neither users nor the next deployment of the route wait for it.
    await using cleanup = new AsyncDisposableStack()
    await runAttempt(claim, controller, { ...deps, cleanup })
    await wakeNext(claim, deps)
  } finally {
    attempts.end(controller)
  }
}

async function explainUnclaimed(deploymentId: string, { sql, log }: BuildDeps): Promise<void> {
  if (await findDeployment(sql, deploymentId))
    return log.info({ deployment: deploymentId }, 'build not claimed: done, or its route is busy')
  // Deployments are never deleted alone: the job was written by somebody else, or the app is gone.
  log.error({ deployment: deploymentId }, 'build job dropped: there is no such deployment')
}

async function runAttempt(
  claimed: Claim,
  controller: AbortController,
  deps: BuildDeps & { cleanup: AsyncDisposableStack },
): Promise<void> {
  const { sql, log, cleanup } = deps
  let claim = claimed
  const lines: string[] = []
  const mask = new Mask({})
  const steps = new StepLog(
    async (written) => {
      const shown = written.map((line) => mask.line(line))
      for (const line of shown) lines.push(line)
      await appendBuildLog(sql, claim.id, shown)
    },
    { onError: (error) => log.error({ err: error, deployment: claim.id }, 'build log lines lost') },
  )
  const claimKeeping = keepClaim(claim, controller, { sql, log })
  cleanup.defer(() => claimKeeping.close())
  try {
    mask.hide(openSecrets(claim, deps.key))
    const hide = (more: Record<string, string>) => mask.hide(more)
    if (claim.attempt > 1) steps.line(`-----> Attempt ${claim.attempt}    the one before was ended`)
    await deps.isolation.demand()
    claim = await fetchSource(claim, { ...deps, log: steps, mask, signal: controller.signal })
    const attempt = new RunningAttempt(claim, sql)
    const goOn = async (built: Claim) => {
      await runBeforeDeployAgain(built, { ...deps, log: steps, hide, mask, signal: controller.signal })
      await attempt.built()
      await attempt.uploading()
    }
    if (!claim.buildId) {
      const logText = () => lines.map((line) => `${line}\n`).join('')
      const made = await makeBuild(claim, attempt, {
        ...deps,
        log: steps,
        logText,
        hide,
        mask,
        signal: controller.signal,
      })
      if ('builtBefore' in made) {
        if (!(await adoptBuild(sql, claim, made.builtBefore)))
          throw new Fenced('the attempt was given to another worker')
        await goOn({ ...claim, buildId: made.builtBefore })
      } else if (!(await recordBuild(sql, claim, made))) throw new Fenced('the attempt was given to another worker')
    } else {
      steps.line(`-----> ${claim.appId} ${shortVersion(claim.version)} · ${await describeBuiltBefore(claim, sql)}`)
      await goOn(claim)
    }
    await warnOfWeakIsolation(steps, deps)
    await putLive(claim, { ...deps, steps, signal: controller.signal })
    log.info({ app: claim.appId, deployment: claim.id }, 'deployment built')
  } catch (thrown) {
    await settle(claim, controller.signal.aborted ? controller.signal.reason : thrown, { ...deps, steps, mask })
  }
}

async function describeBuiltBefore({ buildId, version, source }: Claim, sql: Sql): Promise<string> {
  const before = buildId && (await readBuildVersion(sql, buildId))
  if (!before || before === version) return 'built before, nothing to build'
  const forced = source === 'upload' ? 'atelier deploy --force-build' : 'git push -o force-build'
  return `the same files as ${shortVersion(before)}, built before: nothing to build; to build all the same: ${forced}, or now atelier redeploy --build`
}

// In every deploy's log, for it is the people who deploy whose secrets are at stake.
async function warnOfWeakIsolation(steps: StepLog, { sql, isolation }: BuildDeps): Promise<void> {
  await isolation.current()
  const weakest = await readIsolation(sql)
  if (weakest && isWeak(weakest))
    steps.line(`-----> Isolation   ${weakest.mode}: ${weakest.summary}; see: atelier doctor`)
}

/** Moves the deployment through its states, for this attempt only. */
class RunningAttempt {
  readonly #claim: Claim
  readonly #sql: Sql

  constructor(claim: Claim, sql: Sql) {
    this.#claim = claim
    this.#sql = sql
  }

  async built(): Promise<void> {
    await this.#move('building', 'built')
  }

  async uploading(): Promise<void> {
    await this.#move('built', 'uploading')
  }

  async #move(from: DeploymentState, to: DeploymentState): Promise<void> {
    const { id, attempt, workerId } = this.#claim
    const moved = await moveDeployment(this.#sql, id, { from, to, by: workerId, attempt })
    if (!moved) throw new Fenced(`the deployment was no longer ${from}`)
  }
}

const maxAttempts = 3

// Cancelled or taken over: there is nothing left to say. The user's fault: failed, with the reason. Ours, or the worker stops: back to the
// queue, where the reconciler finds it, until it has been tried often enough.
async function settle(
  claim: Claim,
  thrown: unknown,
  { sql, queue, log, steps, mask }: BuildDeps & { steps: StepLog; mask: Mask },
): Promise<void> {
  const error = toAppError(thrown)
  if (error instanceof Fenced) {
    log.info({ deployment: claim.id, reason: error.message }, 'build ended from outside')
    return steps.flush()
  }
  if (error instanceof Stopping) {
    await steps.flush()
    await releaseClaim(sql, claim, 'the build worker stopped; it is built again')
    return queue.enqueueBuild(claim)
  }
  // Whatever an app throws is in it, and it is shown in more places than the log.
  const [reason = '', ...details] = mask.text(error.message)
  for (const line of details) steps.line(`       ${line.trimEnd()}`)
  if (error.fault === 'platform') log.error({ err: error, deployment: claim.id }, 'build failed by our fault')
  if (error.fault === 'platform' && claim.attempt < maxAttempts) {
    steps.line(`-----> Again       ${reason}; it is tried again within half a minute`)
    await steps.flush()
    return releaseClaim(sql, claim, `${reason}; it is tried again`)
  }
  steps.line(`-----> Failed      ${reason}`)
  await steps.flush()
  await fail(sql, claim, { reason, error })
}

async function fail(sql: Sql, claim: Claim, { reason, error }: { reason: string; error: AppError }): Promise<void> {
  const { id, attempt, workerId } = claim
  const stateReason = reason.length > 500 ? `${reason.slice(0, 500)}…` : reason
  for (const from of ['building', 'built', 'uploading'] as const) {
    const move = { from, to: 'failed' as const, by: workerId, attempt, reason: stateReason, errorCode: error.code }
    if (await moveDeployment(sql, id, move)) return
  }
}

async function wakeNext({ routeId }: Claim, { sql, queue }: BuildDeps): Promise<void> {
  const next = routeId && (await nextQueued(sql, routeId))
  if (next) await queue.enqueueBuild(next)
}

function openSecrets({ appId, environment, envSnapshot }: Claim, key: Key): Record<string, string> {
  return openEnvSnapshot(envSnapshot, { scope: { app: appId, environment }, key, purpose: 'run' })
}
