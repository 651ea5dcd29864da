import { createHash } from 'node:crypto'
import { verify } from '@octokit/webhooks-methods'
import { addressOf } from '../actor.ts'
import { findApp } from '../apps.ts'
import { type Actor, type Deed, recordDone } from '../audit.ts'
import { targetOfBranch } from '../branches.ts'
import { answerOfDatabase } from '../deadline.ts'
import { AppError } from '../errors.ts'
import { takeDelivery } from '../hook-deliveries.ts'
import { branchOfPull, closePullRequest, notePullRequest, notePush, type PullRequestFacts } from '../repo-heads.ts'
import { findLink, openHookSecret, type RepoLink } from '../repo-links.ts'
import type { Db } from '../sql.ts'
import type { ApiDeps } from './call.ts'
import { type HookNews, readHook, readHookHeaders } from './hook-payload.ts'
import { parseJson, readText } from './request-input.ts'

// GitHub sends up to 25 MB, of pushes with thousands of commits, of which we want two fields: what is more than this the next look at the host finds.
const maxBodyBytes = 5 * 1_048_576
// Whoever knows an address may have bodies read before their signature can be looked at: slow ones keep nobody else's out.
const mostAtOnce = 32
const mostOfOne = 4
const underWay = new Map<string, number>()

/**
 * POST /hooks/<id>: a webhook of the host of a linked repository. What it tells is written down and answered with 202 at once; fetching and building come
 * after. Throws HOOK_NOT_FOUND, HOOK_REFUSED (not signed with the hook's secret, or taken before), REQUEST_TOO_LARGE, REQUEST_INVALID, SERVER_BUSY.
 */
export async function takeHook(request: Request, id: string, deps: ApiDeps): Promise<Response> {
  const link = /^[a-z0-9]{24}$/.test(id) ? await answerOfDatabase(findLink(deps.sql, id)) : null
  if (!link) throw new AppError('HOOK_NOT_FOUND', 'there is no such hook; its address is in: atelier repo')
  enter(link)
  try {
    const text = await readText(request, maxBodyBytes)
    const { event, delivery, signature } = readHookHeaders(link.host, request.headers)
    if (!(await isSigned(link, { text, signature }, deps)))
      throw new AppError('HOOK_REFUSED', `the webhook is not signed with the secret of this hook`)
    if (delivery === null) throw new AppError('HOOK_REFUSED', 'the webhook says nothing of which delivery it is')
    const news = readHook(event, parseJson(jsonOf(text, request.headers)))
    await takeNews(news, { link, deliveries: [delivery, digestOf(text)], from: actorOf(link, request) }, deps)
    deps.log.info({ app: link.appId, event, delivery, news: news.kind }, 'webhook taken')
    return Response.json({ taken: news.kind }, { status: 202 })
  } finally {
    leave(link)
  }
}

function enter({ id }: RepoLink): void {
  const ofOne = underWay.get(id) ?? 0
  const ofAll = underWay.values().reduce((sum, count) => sum + count, 0)
  if (ofOne >= mostOfOne || ofAll >= mostAtOnce)
    throw new AppError('SERVER_BUSY', 'too many webhooks at once; send it again')
  underWay.set(id, ofOne + 1)
}

function leave({ id }: RepoLink): void {
  const left = (underWay.get(id) ?? 1) - 1
  if (left > 0) underWay.set(id, left)
  else underWay.delete(id)
}

// Compared in constant time. Without a secret nothing is signed.
async function isSigned(
  link: RepoLink,
  { text, signature }: { text: string; signature: string | null },
  { key }: ApiDeps,
): Promise<boolean> {
  const secret = openHookSecret(link, key)
  if (!secret || !signature || !text) return false
  return verify(secret, text, signature)
}

// GitHub's default is a form with the JSON in a field.
function jsonOf(text: string, headers: Headers): string {
  const isForm = /^application\/x-www-form-urlencoded\b/i.test(headers.get('content-type') ?? '')
  return isForm ? (new URLSearchParams(text).get('payload') ?? '') : text
}

// The header with the delivery's id is not signed: the same body under another id is the same delivery.
function digestOf(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}

async function takeNews(
  news: HookNews,
  { link, deliveries, from }: { link: RepoLink; deliveries: string[]; from: Actor },
  { sql }: ApiDeps,
): Promise<void> {
  // Nothing comes of it a second time either, and who tests a webhook does so more than once, with the same words.
  if (news.kind === 'nothing') return
  if (news.repository.toLowerCase() !== link.fullName.toLowerCase())
    throw new AppError(
      'REQUEST_INVALID',
      `this hook is of ${link.fullName}; link ${link.appId} to the other one with: atelier repo link`,
    )
  await sql.begin(async (tx) => {
    for (const delivery of deliveries)
      if (!(await takeDelivery(tx, { link: link.id, delivery })))
        throw new AppError('HOOK_REFUSED', 'this delivery was taken before')
    const deed = await noteNews(tx, news, link)
    if (deed)
      await recordDone(tx, from, { ...deed, app: link.appId, detail: { ...deed.detail, delivery: deliveries[0] } })
  })
}

// Who is behind it is the host's to know: to us it is the repository that was linked.
function actorOf({ fullName, host }: RepoLink, { headers }: Request): Actor {
  const address = addressOf(headers.get('x-forwarded-for'))
  return { name: `${fullName} (${host})`, personId: null, tokenId: null, via: 'webhook', address }
}

// Null: nothing comes of it.
async function noteNews(
  tx: Db,
  news: HookNews,
  { id: linkId, appId }: RepoLink,
): Promise<Pick<Deed, 'action' | 'detail'> | null> {
  if (news.kind === 'opened')
    return (await notePullRequest(tx, { linkId, appId }, news.pull))
      ? { action: 'webhook pull request opened', detail: detailOf(news.pull) }
      : null
  if (news.kind === 'closed')
    return (await closePullRequest(tx, linkId, news.pull))
      ? { action: 'webhook pull request closed', detail: detailOf(news.pull) }
      : null
  if (news.kind !== 'pushed') return null
  const app = await findApp(tx, appId)
  if (!app || targetOfBranch(app, news.branch).environment !== 'production') return null
  await notePush(tx, { linkId, appId, branch: news.branch, sha: news.sha })
  return { action: 'webhook push', detail: { branch: news.branch, sha: news.sha } }
}

function detailOf({ number, headSha, isFork }: PullRequestFacts): Record<string, unknown> {
  return { branch: branchOfPull(number), sha: headSha, ...(isFork && { fork: true }) }
}
