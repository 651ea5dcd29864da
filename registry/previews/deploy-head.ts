import { findApp } from '../apps.ts'
import { targetOfBranch } from '../branches.ts'
import { createDeployment } from '../deployments.ts'
import { claimHeads, postponeHead, settleHead } from '../due-heads.ts'
import { AppError } from '../errors.ts'
import { keepOrigin, parseGitOrigin } from '../git-origins.ts'
import { readIsolation } from '../isolation.ts'
import type { Log } from '../log.ts'
import type { BuildQueue } from '../queue.ts'
import type { RepoHead } from '../repo-heads.ts'
import { findLink, openHostToken, type RepoLink } from '../repo-links.ts'
import type { Key } from '../secrets.ts'
import type { Sql } from '../sql.ts'

export type DeployHeadDeps = { sql: Sql; queue: BuildQueue; key: Key; log: Log }

const atOnce = 4

/**
 * Makes deployments of heads that are new; a worker fetches them. Where from is what the app was linked to, whatever a webhook says of that: it names a pull
 * request and a commit. Returns how many it took.
 */
export async function deployHeads(deps: DeployHeadDeps): Promise<number> {
  const heads = await claimHeads(deps.sql, atOnce)
  await Promise.all(heads.map((head) => deployHead(head, deps)))
  return heads.length
}

async function deployHead(head: RepoHead, deps: DeployHeadDeps): Promise<void> {
  const { sql, log } = deps
  try {
    const link = await findLink(sql, head.linkId)
    if (!link) return
    const refusal = await refuse(head, link, deps)
    if (refusal) await settleHead(sql, head, refusal)
    else if (await isDeployed(sql, head)) await settleHead(sql, head, { deploymentId: head.deploymentId })
    else await deploy(head, link, deps)
  } catch (thrown) {
    if (thrown instanceof AppError && isWait(thrown))
      return await settleHead(sql, head, { note: thrown.message, refused: false })
    log.error({ err: thrown, app: head.appId, branch: head.branch }, 'head of a linked repository not deployed')
    await postponeHead(sql, head, 'the platform could not deploy it yet, and tries again')
  }
}

// Somebody has to do something first; the next push comes in as this one did.
function isWait({ code }: AppError): boolean {
  return ['APP_LOCKED', 'APP_HELD', 'NAME_TAKEN', 'FORK_UNTRUSTED', 'REQUEST_INVALID'].includes(code)
}

/** B6: a fork's commit is built when forks are let in at all, and somebody has approved that very one. */
async function refuse(
  head: RepoHead,
  { forks }: RepoLink,
  { sql }: DeployHeadDeps,
): Promise<{ note: string; refused: boolean } | null> {
  if (head.refusedSha === head.headSha) return { note: head.note ?? 'its preview was removed', refused: true }
  if (!head.isFork) return null
  if (forks === 'off') return { note: 'it comes from a fork, and those get no previews here', refused: true }
  if (head.approvedSha !== head.headSha)
    return { note: 'it comes from a fork: somebody has to approve this commit first', refused: false }
  const walls = await readIsolation(sql)
  return walls?.mode === 'none'
    ? { note: 'this platform runs without walls, and builds nothing of forks', refused: false }
    : null
}

// One that could not be fetched is another try's.
async function isDeployed(sql: Sql, { deployedSha, headSha, deploymentId }: RepoHead): Promise<boolean> {
  if (deployedSha !== headSha || deploymentId === null) return false
  const there = await sql`
    select id
    from deployments
    where id = ${deploymentId}
      and route_id is not null
      and error_code is distinct from 'FETCH_FAILED'
  `
  return there.length > 0
}

async function deploy(head: RepoHead, link: RepoLink, { sql, queue, key, log }: DeployHeadDeps): Promise<void> {
  const { appId, branch, isFork, headSha: sha } = head
  const app = await findApp(sql, appId)
  if (!app) return
  const origin = parseGitOrigin({ url: link.url, ref: refOf(head), sha })
  const deployment = await createDeployment(sql, {
    app: appId,
    target: targetOfBranch(app, branch),
    version: sha,
    source: 'git',
    by: isFork && head.approvedBy ? head.approvedBy : link.host,
    gitOrigin: keepOrigin(origin, { app: appId, token: openHostToken(link, key), key }),
    options: isFork ? { fork: true } : {},
    door: 'automatic',
  })
  await settleHead(sql, head, { deploymentId: deployment.id })
  log.info({ app: appId, deployment: deployment.id, branch, from: link.fullName }, 'head of a linked repository taken')
  void queue.enqueueBuild(deployment)
}

function refOf({ pullRequest, branch }: RepoHead): string {
  return pullRequest === null ? `refs/heads/${branch}` : `refs/pull/${pullRequest}/head`
}
