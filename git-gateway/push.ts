import type { ChildProcess } from 'node:child_process'
import type { ServerResponse } from 'node:http'
import { Duplex, type Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { type App, createApp, findApp } from '../registry/apps.ts'
import { AppError, toAppError } from '../registry/errors.ts'
import { type Commit, inspectCheckouts } from './checkout.ts'
import { answerOfDatabase } from './deadline.ts'
import { followDeployment } from './follow.ts'
import type { GatewayDeps } from './gateway.ts'
import { endGroup, exitOf } from './git.ts'
import type { Access } from './guard.ts'
import { answerPreReceive, type Question } from './pre-receive.ts'
import { answerProcReceive } from './proc-receive.ts'
import { type BranchPush, deleteBranch, deployBranch, settleProduction } from './push-branch.ts'
import { type PushHead, readPushHead } from './push-head.ts'
import { judgePush, readPushOptions } from './push-policy.ts'
import { PushReply } from './push-reply.ts'
import { isZero, type RefUpdate, Refused, refuseAll, shortRef, type Verdict } from './ref-update.ts'
import { drain, feed } from './upload.ts'

const breakOffWithinMs = 2000

export type PushRequest = {
  slug: string
  access: Access
  body: Readable
  /** True when it may be long: git sends more than a megabyte in chunks. */
  isChunked: boolean
  response: ServerResponse
}

/** Answers POST git-receive-pack: refuses at once what breaks the rules, else lets git receive it and decides in its hooks. */
export async function receivePush(request: PushRequest, deps: GatewayDeps): Promise<void> {
  const { body, response } = request
  const head = await readPushHead(body)
  const reply = new PushReply(response, head)
  const refused = judgePush(head.updates, head.options, deps.config.pushLimits)
  if (head.updates.length > 0 && refused) {
    reply.refuse(refused)
    await drain(body)
  } else if (head.updates.length > 0) {
    await receive(request, { head, reply }, deps)
  }
  await reply.end()
}

async function receive(
  { slug, access, body, isChunked, response }: PushRequest,
  { head, reply }: { head: PushHead; reply: PushReply },
  deps: GatewayDeps,
): Promise<void> {
  const left = new AbortController()
  response.once('close', () => left.abort())
  try {
    const app = access.app ?? (await createByPush(slug, access, reply, deps))
    const repository = await deps.repositories.open(app)
    const push = new Push({ app, repository, access, reply, left: left.signal }, deps)
    await push.receive(head, body, { isChunked })
  } catch (thrown) {
    reply.refuse(refuseAll(head.updates, explain(thrown, deps)))
    await drain(body)
  }
}

async function createByPush(
  slug: string,
  { caller }: Access,
  reply: PushReply,
  { sql, log }: GatewayDeps,
): Promise<App> {
  try {
    const app = await answerOfDatabase(createApp(sql, { id: slug, by: caller.name }))
    log.info({ app: slug, by: caller.name }, 'app created by its first push')
    await reply.say([`-----> Created     the app ${slug}`])
    return app
  } catch (thrown) {
    const present = thrown instanceof AppError && thrown.code === 'NAME_TAKEN' ? await findApp(sql, slug) : null
    if (!present) throw thrown
    return present
  }
}

/** One `git receive-pack` and the decisions in its hooks. */
class Push {
  readonly #deps: GatewayDeps
  readonly #reply: PushReply
  readonly #access: Access
  readonly #repository: string
  /** Ends the following of builds: the client has left, git has ended, or the gateway stops. */
  readonly #ended = new AbortController()
  readonly #followingEnds: AbortSignal
  #app: App
  #accepted: Map<string, Commit> | null = null
  #isBrokenOff = false

  constructor(
    {
      app,
      repository,
      access,
      reply,
      left,
    }: { app: App; repository: string; access: Access; reply: PushReply; left: AbortSignal },
    deps: GatewayDeps,
  ) {
    this.#app = app
    this.#repository = repository
    this.#access = access
    this.#reply = reply
    this.#deps = deps
    this.#followingEnds = AbortSignal.any([this.#ended.signal, left, deps.stopping])
  }

  async receive(head: PushHead, body: Readable, { isChunked }: { isChunked: boolean }): Promise<void> {
    // A large pack is kept as it is: writing its objects one by one took 6.5 s for 100 MB instead of 1.6 s.
    const keepPack = isChunked ? ['-c', 'receive.unpackLimit=1'] : []
    const child = this.#deps.git.start([...keepPack, 'receive-pack', '--stateless-rpc', this.#repository], {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    })
    const stderr = collect(child.stderr)
    this.#serveHooks(child)
    try {
      await Promise.all([this.#upload(head, body, child), child.stdout && this.#reply.relay(child.stdout)])
      await exitOf(child)
    } finally {
      this.#ended.abort()
      await endGroup(child)
    }
    if (this.#reply.isReported) return
    this.#deps.log.error({ app: this.#app.id, stderr: stderr() }, 'git receive-pack ended without a report')
    this.#reply.refuse(refuseAll(head.updates, 'git on the server ended before it was done; see: atelier deploys'))
  }

  async #upload(head: PushHead, body: Readable, child: ChildProcess): Promise<void> {
    if (!child.stdin) throw new AppError('INTERNAL', 'git receive-pack started without stdin')
    const { packMb } = this.#deps.config.pushLimits
    try {
      const end = await feed(head.bytes, body, { into: child.stdin, maxBytes: packMb * 1_048_576 })
      if (end === 'oversize') {
        this.#reply.refuse(
          refuseAll(head.updates, `the push is larger than ${packMb} MB, this server's limit (ATELIER_PUSH_MAX_MB)`),
        )
        await this.#breakOff(child)
      }
      if (end !== 'whole') await drain(body)
    } catch (thrown) {
      // The client left, or sent garbage: before the pack is complete there is nothing to go on with.
      this.#deps.log.info({ app: this.#app.id, err: thrown }, 'push broken off')
      await this.#breakOff(child)
    }
  }

  // A git that finds its input cut off cleans up after itself better than one that is ended.
  async #breakOff(child: ChildProcess): Promise<void> {
    this.#isBrokenOff = true
    child.stdin?.destroy()
    await Promise.race([exitOf(child), setTimeout(breakOffWithinMs, null, { ref: false })])
    await endGroup(child)
  }

  #serveHooks({ stdio: [, , , policy, protocol] }: ChildProcess): void {
    if (!(policy instanceof Duplex) || !(protocol instanceof Duplex)) {
      throw new AppError('INTERNAL', 'git receive-pack started without the channels of its hooks')
    }
    const answered = [
      answerPreReceive(policy, (question) => this.#judge(question)),
      answerProcReceive(protocol, (updates, options) => this.#decide(updates, options)),
    ]
    for (const conversation of answered) {
      conversation.catch((thrown: unknown) => {
        // With its channels gone the hook fails, and git with it.
        this.#deps.log.error({ app: this.#app.id, err: thrown }, 'push hook broke')
        policy.destroy()
        protocol.destroy()
      })
    }
  }

  // pre-receive: the last word on what is kept at all.
  async #judge(question: Question): Promise<'accept' | 'refuse'> {
    const { updates } = question
    const { git, config } = this.#deps
    if (this.#isBrokenOff) return 'refuse'
    const broken = judgePush(updates, [], config.pushLimits)
    if (broken) return this.#refuse(broken)
    const inspected = await inspectCheckouts(question, { git, repository: this.#repository, limits: config.pushLimits })
    if ('refused' in inspected) return this.#refuse(refuseAll(updates, inspected.refused))

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

  // proc-receive: every branch goes its own way, all at once.
  async #decide(updates: RefUpdate[], options: string[]): Promise<Verdict[]> {
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
      return await followDeployment(update, deployment, { say, signal: this.#followingEnds }, this.#deps)
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

// What git says on stderr, bounded; a reader must be there or it stops when the pipe is full.
function collect(stream: Readable | null): () => string {
  let text = ''
  stream?.on('data', (chunk: Buffer) => {
    if (text.length < 4000) text += chunk.toString('utf8')
  })
  return () => text.trim()
}
