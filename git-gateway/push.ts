import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { type App, createApp, deleteUnusedApp, findApp } from '../registry/apps.ts'
import { AppError, toAppError } from '../registry/errors.ts'
import { type Commit, inspectCheckouts } from './checkout.ts'
import { answerOfDatabase } from './deadline.ts'
import { followDeployment } from './follow.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import type { Access } from './guard.ts'
import { linesOfLastRollback } from './last-rollback.ts'
import type { Question } from './pre-receive.ts'
import { PushAccount } from './push-account.ts'
import { type BranchPush, deleteBranch, deployBranch, refuseEnding, settleProduction } from './push-branch.ts'
import { type PushHead, readPushHead } from './push-head.ts'
import { judgePush, readPushOptions, refuseWhole } from './push-policy.ts'
import { PushReply } from './push-reply.ts'
import { type Decisions, receivePack } from './receive-pack.ts'
import { isZero, type RefUpdate, Refused, refuseAll, shortRef, type Verdict } from './ref-update.ts'
import { readRefs } from './repositories.ts'
import { drain } from './upload.ts'

export type PushRequest = {
  slug: string
  access: Access
  request: IncomingMessage
  /** Without its content encoding. */
  body: Readable
  response: ServerResponse
  /** Aborted when whoever pushes may not any more. */
  ended: AbortSignal
}

const forgetWithinMs = 400

/** Answers POST git-receive-pack: refuses at once what breaks the rules, else lets git receive it and decides in its hooks. */
export async function receivePush(push: PushRequest, deps: GatewayDeps): Promise<void> {
  const { request, body, response } = push
  const head = await readPushHead(body)
  const reply = new PushReply(response, head)
  const refused = judgePush(head.updates, head.options, deps.config.pushLimits)
  if (head.updates.length > 0 && refused) {
    reply.refuse(refused)
    await drain(request)
  } else if (head.updates.length > 0) {
    await receive(push, { head, reply }, deps)
  }
  await reply.end()
}

async function receive(
  { slug, access, request, body, response, ended }: PushRequest,
  { head, reply }: { head: PushHead; reply: PushReply },
  deps: GatewayDeps,
): Promise<void> {
  // A build is followed until the client leaves, git has ended, the token ends, or the gateway stops.
  const over = new AbortController()
  response.once('close', () => over.abort())
  const followUntil = AbortSignal.any([over.signal, deps.stopping, ended])
  try {
    const app = access.app ?? (await createByPush(slug, access, reply, deps))
    const repository = await deps.repositories.open(app)
    const account = new PushAccount({ app: app.id, access, request }, deps)
    const push = new Push({ app, repository, access, reply, followUntil, account }, deps)
    const receiving = { app: app.id, repository, head, request, body, reply, ended }
    await deps.repositories.receiving(repository, () => receivePack(receiving, push, deps)).finally(() => account.end())
    if (access.app === null) await forgetUnused(app, repository, deps)
  } catch (thrown) {
    reply.refuse(refuseAll(head.updates, explain(thrown, deps)))
    await drain(request)
  } finally {
    over.abort()
  }
}

// A first push of which nothing was kept leaves no app either. When the database is away it is left: the person has waited for it already.
async function forgetUnused(app: App, repository: string, { sql, git, repositories, log }: GatewayDeps): Promise<void> {
  try {
    if ((await readRefs(git, repository)).size > 0) return
    if (!(await answerOfDatabase(deleteUnusedApp(sql, app.id), forgetWithinMs))) return
    await repositories.remove(app)
    log.info({ app: app.id }, 'app of a refused first push removed')
  } catch (thrown) {
    log.warn({ err: thrown, app: app.id }, 'app of a refused first push left')
  }
}

async function createByPush(
  slug: string,
  { caller }: Access,
  reply: PushReply,
  { sql, log }: GatewayDeps,
): Promise<App> {
  try {
    const app = await answerOfDatabase(createApp(sql, { id: slug, by: caller.name, owner: caller.person?.id ?? null }))
    log.info({ app: slug, by: caller.name }, 'app created by its first push')
    await reply.say([`-----> Created     the app ${slug}`])
    return app
  } catch (thrown) {
    const present =
      thrown instanceof AppError && thrown.code === 'NAME_TAKEN' ? await answerOfDatabase(findApp(sql, slug)) : null
    if (!present) throw thrown
    return present
  }
}

type PushParts = {
  app: App
  repository: string
  access: Access
  reply: PushReply
  followUntil: AbortSignal
  account: PushAccount
}

/** What is decided about one push, in git's two hooks. */
class Push implements Decisions {
  readonly #deps: GatewayDeps
  readonly #reply: PushReply
  readonly #access: Access
  readonly #repository: string
  readonly #followUntil: AbortSignal
  readonly #account: PushAccount
  #app: App
  #accepted: Map<string, Commit> | null = null

  constructor({ app, repository, access, reply, followUntil, account }: PushParts, deps: GatewayDeps) {
    this.#app = app
    this.#repository = repository
    this.#access = access
    this.#reply = reply
    this.#followUntil = followUntil
    this.#account = account
    this.#deps = deps
  }

  /** pre-receive: the last word on what is kept at all. */
  async judge(question: Question): Promise<'accept' | 'refuse'> {
    const { updates } = question
    const { git, config } = this.#deps
    const broken = judgePush(updates, [], config.pushLimits)
    if (broken) return this.#refuse(broken)
    const lasting = refuseWhole(updates, (update) => refuseEnding(update, this.#app))
    if (lasting) return this.#refuse(lasting)
    const inspected = await inspectCheckouts(question, { git, repository: this.#repository, limits: config.pushLimits })
    if ('refused' in inspected) return this.#refuse(refuseAll(updates, inspected.refused))

    try {
      await this.#account.begin(updates)
    } catch (thrown) {
      return this.#refuse(refuseAll(updates, explain(thrown, this.#deps)))
    }
    this.#accepted = inspected.commits
    if (updates.some(({ ref, new: sha }) => ref.startsWith('refs/tags/') && !isZero(sha))) {
      await this.#reply.say(['Tags are kept and deploy nothing; a branch does: git push atelier main'])
    }
    return 'accept'
  }

  #refuse(verdicts: Verdict[]): 'refuse' {
    this.#reply.refuse(verdicts)
    return 'refuse'
  }

  /** proc-receive: every branch goes its own way, all at once. */
  async decide(updates: RefUpdate[], options: string[], gone: AbortSignal): Promise<Verdict[]> {
    const verdicts = await this.#decide(updates, options, gone)
    this.#account.judged(verdicts)
    return verdicts
  }

  async #decide(updates: RefUpdate[], options: string[], gone: AbortSignal): Promise<Verdict[]> {
    const commits = this.#accepted
    const broken = judgePush(updates, options, this.#deps.config.pushLimits)
    if (broken) return broken
    if (!commits) return refuseAll(updates, 'the checks before the push did not run')
    try {
      this.#app = await settleProduction(this.#app, updates, this.#deps)
    } catch (thrown) {
      return refuseAll(updates, explain(thrown, this.#deps))
    }
    const push = {
      app: this.#app,
      repository: this.#repository,
      caller: this.#access.caller,
      commits,
      options: readPushOptions(options),
      gone,
    }
    const width = Math.max(...updates.map(({ ref }) => shortRef(ref).length))
    const prefixOf = (ref: string) => (updates.length > 1 ? `${shortRef(ref).padEnd(width)} ` : '')
    return Promise.all(
      updates.map((update) =>
        this.#carryOut(update, push, (lines) => this.#reply.say(lines.map((line) => `${prefixOf(update.ref)}${line}`))),
      ),
    )
  }

  async #carryOut(update: RefUpdate, push: BranchPush, say: (lines: string[]) => Promise<void>): Promise<Verdict> {
    try {
      if (isZero(update.new)) {
        await say([await deleteBranch(update, push, this.#deps)])
        return { ref: update.ref, ok: true }
      }
      const deployment = await deployBranch(update, push, this.#deps)
      await say(await linesOfLastRollback(deployment, this.#deps))
      const following = { say, signal: this.#followUntil, until: push.options.until }
      return await followDeployment(update, deployment, following, this.#deps)
    } catch (thrown) {
      return { ref: update.ref, ok: false, reason: explain(thrown, this.#deps) }
    }
  }
}

/** What to tell the person who pushed; what is the platform's fault is logged besides. */
function explain(thrown: unknown, { log }: GatewayDeps): string {
  if (thrown instanceof Refused) return thrown.message
  const error = toAppError(thrown)
  if (error.fault === 'user') return error.message
  log.error({ err: error }, 'push failed')
  if (error.code === 'INTERNAL') return 'something broke inside Atelier and is in its log; what is live stays live'
  return error.message
}
