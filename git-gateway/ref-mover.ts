import { setTimeout } from 'node:timers/promises'
import { findApp } from '../registry/apps.ts'
import { type Deployment, moveDeployment, nextQueued } from '../registry/deployments.ts'
import { listPreparedPushes, recordRefMove } from '../registry/ref-moves.ts'
import { bringOut } from '../registry/release.ts'
import { channels } from '../registry/routes.ts'
import { Wakeup } from '../registry/wakeup.ts'
import { noteCommits } from './commits-between.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import { branchOf, isZero, Refused } from './ref-update.ts'
import { isAncestor, readRef } from './repositories.ts'

const shortestSweepMs = 1_000
const longestSweepMs = 30_000

type Prepared = Deployment & { ref: string; gitSha: string }

/**
 * Moves the ref of every prepared push and then puts it before its users. Looks at once when Postgres says so, and by itself at the start
 * and from time to time; each half is done only if it is missing, so a crash anywhere is made up for by the next look.
 */
export class RefMover {
  readonly #deps: GatewayDeps
  readonly #stop = new AbortController()
  readonly #underWay = new Map<string, Promise<void>>()
  #running: Promise<void>

  constructor(deps: GatewayDeps) {
    this.#deps = deps
    this.#running = this.#run()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.#running
    await Promise.all(this.#underWay.values())
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    await using wakeup = await this.#listen()
    let pauseMs = shortestSweepMs
    while (!signal.aborted) {
      try {
        const found = await this.#sweep()
        pauseMs = found > 0 ? shortestSweepMs : Math.min(pauseMs * 2, longestSweepMs)
      } catch (thrown) {
        this.#deps.log.warn({ err: thrown }, 'prepared pushes not read')
        pauseMs = shortestSweepMs
      }
      await wakeup?.next({ timeoutMs: pauseMs, signal })
    }
  }

  // The database may be away when the gateway starts.
  async #listen(): Promise<Wakeup | null> {
    while (!this.#stop.signal.aborted) {
      try {
        return await Wakeup.on(this.#deps.sql, [channels.deployments], (payload) => payload.endsWith(':prepared'))
      } catch (thrown) {
        this.#deps.log.warn({ err: thrown }, 'prepared pushes not listened for')
        await setTimeout(shortestSweepMs)
      }
    }
    return null
  }

  // A push whose move is under way is left to it, and one that is slow keeps no other waiting.
  async #sweep(): Promise<number> {
    const prepared = (await listPreparedPushes(this.#deps.sql)).filter(isPushed)
    for (const deployment of prepared) {
      if (this.#underWay.has(deployment.id)) continue
      const finished = this.#finish(deployment).finally(() => this.#underWay.delete(deployment.id))
      this.#underWay.set(deployment.id, finished)
    }
    return prepared.length
  }

  async #finish(deployment: Prepared): Promise<void> {
    const { sql, log, locks, queue } = this.#deps
    try {
      await locks.hold(deployment.appId, deployment.ref, () => this.#moveAndFlip(deployment))
      const next = deployment.routeId ? await nextQueued(sql, deployment.routeId) : null
      if (next) await queue.enqueueBuild(next)
    } catch (thrown) {
      log.error(
        { err: thrown, app: deployment.appId, deployment: deployment.id },
        'prepared push not finished, tried again',
      )
    }
  }

  async #moveAndFlip(deployment: Prepared): Promise<void> {
    const { sql, config, log, repositories } = this.#deps
    const app = await findApp(sql, deployment.appId)
    if (!app) return
    const repository = await repositories.open(app)
    try {
      const [isMoved] = await Promise.all([
        recordRefMove(sql, deployment.id, () => moveRef(repository, deployment, this.#deps)),
        noteCommits(deployment, repository, this.#deps),
      ])
      if (!isMoved) return
    } catch (thrown) {
      if (!(thrown instanceof Refused)) throw thrown
      const { id } = deployment
      await moveDeployment(sql, id, { from: 'uploading', to: 'failed', by: 'platform', reason: thrown.message })
      return
    }
    const out = await bringOut(sql, deployment.id, { config, by: deployment.createdBy })
    if (!out) return
    const { id, appId, ref, state } = out
    log.info({ app: appId, deployment: id, ref, state }, 'ref moved, deployment brought out')
  }
}

/**
 * Moves the ref from what it is to the deployment's commit, if nothing that was pushed is lost by it: it still is what the push replaced,
 * or the new commit contains what it is now. Does nothing when it is there already. Throws Refused.
 */
async function moveRef(
  repository: string,
  deployment: Prepared,
  { git, repositories, log }: GatewayDeps,
): Promise<void> {
  const { ref, gitSha, oldSha, environment, branch } = deployment
  const expected = oldSha ?? zeroLike(gitSha)
  const set = (from: string) => git.run(repository, ['update-ref', '--no-deref', ref, gitSha, from])
  let moved = await set(expected)
  const current = moved.code === 0 ? gitSha : ((await readRef(git, repository, ref)) ?? zeroLike(gitSha))
  if (current !== gitSha && current !== expected) {
    if (isZero(current) || !(await isAncestor(git, repository, current, gitSha))) {
      throw new Refused(
        `${branchOf(ref)} moved while this was building; take that in and push again: git fetch atelier`,
      )
    }
    moved = await set(current)
  }
  if (current !== gitSha && moved.code !== 0) {
    log.error({ app: deployment.appId, deployment: deployment.id, stderr: moved.stderr }, 'git could not move a ref')
    throw new Refused(`git could not move ${branchOf(ref)}; the gateway's log says why`)
  }
  if (environment === 'production') await repositories.pointHead(repository, branch)
}

function isPushed(deployment: Deployment): deployment is Prepared {
  return deployment.ref !== null && deployment.gitSha !== null
}

function zeroLike(sha: string): string {
  return '0'.repeat(sha.length)
}
