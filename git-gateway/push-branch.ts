import type { App } from '../registry/apps.ts'
import { settleProductionBranch } from '../registry/apps.ts'
import { targetOfBranch } from '../registry/branches.ts'
import { sourceKey } from '../registry/bundle-store/keys.ts'
import { appUrl } from '../registry/config.ts'
import { createDeployment, type Deployment, type NewDeployment } from '../registry/deployments.ts'
import { AppError } from '../registry/errors.ts'
import { holdSource } from '../registry/holds.ts'
import { removePreview } from '../registry/preview-removal.ts'
import { findRunningPush } from '../registry/ref-moves.ts'
import { findSource } from '../registry/reusable-builds.ts'
import type { Caller } from '../registry/rights.ts'
import { shortVersion } from '../registry/version.ts'
import type { Commit } from './checkout.ts'
import { answerOfDatabase, changeOfDatabase } from './deadline.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import type { PushOptions } from './push-policy.ts'
import { branchOf, isZero, type RefUpdate, Refused } from './ref-update.ts'
import { isAncestor, readRef, readRefs } from './repositories.ts'
import { keepSnapshot } from './snapshot.ts'

export type BranchPush = {
  app: App
  repository: string
  caller: Caller
  commits: Map<string, Commit>
  options: PushOptions
  /** Aborted when git has ended and nobody can be told any more that the push was taken. */
  gone: AbortSignal
}

/** Settles which branch is production before the branches of a push go their ways in parallel; `main` has the first word. */
export async function settleProduction(app: App, updates: RefUpdate[], { sql }: GatewayDeps): Promise<App> {
  if (app.productionBranch) return app
  const pushed = updates.filter((update) => !isZero(update.new)).map(({ ref }) => branchOf(ref))
  const first = ['main', 'master'].find((name) => pushed.includes(name))
  if (!first) return app
  return { ...app, productionBranch: await answerOfDatabase(settleProductionBranch(sql, app.id, first)) }
}

/**
 * Turns an update of a branch into a queued deployment: source kept, row inserted, worker woken. The ref itself moves when the deployment
 * is prepared. Throws Refused, and AppError when the platform fails.
 */
export async function deployBranch(update: RefUpdate, push: BranchPush, deps: GatewayDeps): Promise<Deployment> {
  const { app, repository } = push
  const branch = branchOf(update.ref) ?? ''
  return deps.locks.hold(app.id, update.ref, async () => {
    const commit = push.commits.get(update.new)
    await checkHistory(update, push, deps)
    const key = await keepSource({ app: app.id, repository, sha: update.new, tree: commit?.tree ?? null }, deps)
    const wanted: NewDeployment = {
      app: app.id,
      target: targetOfBranch(app, branch),
      version: update.new,
      source: 'git',
      by: push.caller.name,
      sourceKey: key,
      sourceTree: commit?.tree ?? null,
      git: {
        ref: update.ref,
        sha: update.new,
        oldSha: update.old,
        subject: commit?.subject ?? '',
      },
      options: push.options.deployment,
      door: push.options.door,
    }
    const deployment = await changeOfDatabase((signal) => createDeployment(deps.sql, wanted, { signal }), {
      signal: push.gone,
    })
    // Only a wake-up, which the reconciler makes up for: the log is followed meanwhile.
    void deps.queue.enqueueBuild(deployment)
    deps.log.info({ app: app.id, deployment: deployment.id, ref: update.ref }, 'push accepted')
    return deployment
  })
}

// A commit that changes no file, a merge of what was built as a preview: the source is there already.
async function keepSource(
  { tree, ...commit }: { app: string; repository: string; sha: string; tree: string | null },
  deps: GatewayDeps,
): Promise<string> {
  const known = tree && (await answerOfDatabase(findSource(deps.sql, { app: commit.app, sourceTree: tree })))
  if (known) {
    await answerOfDatabase(holdSource(deps.sql, known))
    if ((await deps.store.has([known])).has(known)) return known
  }
  await answerOfDatabase(holdSource(deps.sql, sourceKey(commit.app, commit.sha)))
  return keepSnapshot(commit, deps)
}

/** The reason to refuse the deletion of a branch: what an app serves is not ended by a push. Null for every other update. */
export function refuseEnding({ ref, new: sha }: RefUpdate, app: App): string | null {
  const branch = branchOf(ref)
  if (branch === null || !isZero(sha) || targetOfBranch(app, branch).environment !== 'production') return null
  return `${branch} is what ${app.id} serves; to end the app: atelier apps rm ${app.id}`
}

/** Deletes a branch and tears its preview down. Returns the sentence to show. Throws Refused. */
export async function deleteBranch(update: RefUpdate, push: BranchPush, deps: GatewayDeps): Promise<string> {
  const { app, repository } = push
  const branch = branchOf(update.ref) ?? ''
  const target = targetOfBranch(app, branch)
  const lasting = refuseEnding(update, app)
  if (lasting) throw new Refused(lasting)
  return deps.locks.hold(app.id, update.ref, async () => {
    const current = await readRef(deps.git, repository, update.ref)
    if (current !== update.old) throw new Refused('fetch first')
    const wasThere = await changeOfDatabase(() =>
      removePreview(deps.sql, { app: app.id, branch, by: push.caller.name }),
    )
    const { code, stderr } = await deps.git.run(repository, ['update-ref', '-d', update.ref, update.old])
    if (code !== 0) throw new AppError('INTERNAL', `git could not delete ${update.ref} of ${app.id}: ${stderr.trim()}`)
    return wasThere ? `The preview ${appUrl(deps.config, target.label)} is taken down.` : `${branch} had no preview.`
  })
}

async function checkHistory(update: RefUpdate, { app, repository }: BranchPush, deps: GatewayDeps): Promise<void> {
  const [current, running] = await Promise.all([
    readRef(deps.git, repository, update.ref),
    answerOfDatabase(findRunningPush(deps.sql, { app: app.id, ref: update.ref })),
  ])
  if (current !== (isZero(update.old) ? null : update.old)) throw new Refused('fetch first')
  if (current === null) await checkConflict(update.ref, repository, deps)

  if (running?.gitSha && !(await isAncestor(deps.git, repository, running.gitSha, update.new))) {
    throw new Refused(
      `${shortVersion(running.version)} (v${running.number}) is on its way and this would not follow it; wait, or stop it: atelier cancel ${running.id}`,
    )
  }
}

// git keeps refs as paths: `a` and `a/b` cannot both be branches.
async function checkConflict(ref: string, repository: string, { git }: GatewayDeps): Promise<void> {
  const existing = [...(await readRefs(git, repository)).keys()]
  const inTheWay = existing.find((other) => other.startsWith(`${ref}/`) || ref.startsWith(`${other}/`))
  if (inTheWay)
    throw new Refused(`git cannot hold this branch beside ${branchOf(inTheWay)}; delete one or name it otherwise`)
}
