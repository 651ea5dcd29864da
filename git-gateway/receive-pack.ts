import type { ChildProcess } from 'node:child_process'
import type { IncomingMessage } from 'node:http'
import { Duplex, type Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { AppError, messageOf } from '../registry/errors.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import { endGroup, exitOf } from './git.ts'
import { answerPreReceive, type Question } from './pre-receive.ts'
import { answerProcReceive } from './proc-receive.ts'
import type { PushHead } from './push-head.ts'
import type { PushReply } from './push-reply.ts'
import { type RefUpdate, Refused, refuseAll, type Verdict } from './ref-update.ts'
import { UnpackClock } from './unpack-clock.ts'
import { drain, feed, mayBeLarge } from './upload.ts'

/** What is asked in the hooks of a push: may it be kept, and what becomes of each ref. */
export type Decisions = {
  judge(question: Question): Promise<'accept' | 'refuse'>
  /** `gone` is aborted when git has ended, and with it the push: what was not begun by then is not. */
  decide(updates: RefUpdate[], options: string[], gone: AbortSignal): Promise<Verdict[]>
}

export type Receiving = {
  app: string
  repository: string
  head: PushHead
  request: IncomingMessage
  /** The rest of the push. */
  body: Readable
  reply: PushReply
  /** Aborted when whoever pushes may not any more. */
  ended: AbortSignal
}

const breakOffWithinMs = 2000

/** One `git receive-pack` from start to end, with what it says in the reply. Nothing of it is running when this resolves. */
export async function receivePack(push: Receiving, decisions: Decisions, deps: GatewayDeps): Promise<void> {
  const { app, repository, head, request, reply, ended } = push
  ended.throwIfAborted()
  // A large pack is kept as it is: writing its objects one by one took 6.5 s for 100 MB instead of 1.6 s.
  const keepPack = mayBeLarge(request) ? ['-c', 'receive.unpackLimit=1'] : []
  const { packMb, unpackTimeoutMs } = deps.config.pushLimits
  const child = deps.git.start([...keepPack, 'receive-pack', '--stateless-rpc', repository], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    caps: { dataMb: 480, cpuSec: Math.ceil(unpackTimeoutMs / 1000) + packMb },
  })
  const gone = new AbortController()
  child.once('exit', () => gone.abort(new Refused('git on the server ended before the push was taken')))
  const stderr = collect(child.stderr)
  const upload = new Upload(child, push, deps)
  ended.addEventListener('abort', () => void upload.cut(ended.reason))
  serveHooks(child, upload.guarding(decisions), { app, gone: gone.signal, log: deps.log })
  try {
    await Promise.all([upload.run(), child.stdout && reply.relay(child.stdout)])
    await exitOf(child)
  } finally {
    upload.clock.stop()
    await endGroup(child)
  }
  if (reply.isReported) return
  deps.log.error({ app, stderr: stderr() }, 'git receive-pack ended without a report')
  reply.refuse(refuseAll(head.updates, 'git on the server ended before it was done; see: atelier deploys'))
}

/** Feeds a push to git, and breaks it off when the client leaves before it is complete, or sends too much. */
class Upload {
  readonly clock: UnpackClock
  readonly #child: ChildProcess
  readonly #push: Receiving
  readonly #deps: GatewayDeps
  #isBrokenOff = false
  #isJudged = false

  constructor(child: ChildProcess, push: Receiving, deps: GatewayDeps) {
    this.#child = child
    this.#push = push
    this.#deps = deps
    const { unpackTimeoutMs } = deps.config.pushLimits
    const sec = unpackTimeoutMs / 1000
    const reason = `git needs more than ${sec} s and a second for each MB to unpack it, this server's limit (ATELIER_PUSH_UNPACK_SEC)`
    this.clock = new UnpackClock(unpackTimeoutMs, () => void this.#refuse(reason))
  }

  async run(): Promise<void> {
    const { app, request, body, head } = this.#push
    const { packMb } = this.#deps.config.pushLimits
    const into = this.#child.stdin
    if (!into) throw new AppError('INTERNAL', 'git receive-pack started without stdin')
    try {
      const end = await feed(head.bytes, body, { into, maxBytes: packMb * 1_048_576, clock: this.clock })
      if (end === 'oversize') {
        await this.#refuse(`the push is larger than ${packMb} MB, this server's limit (ATELIER_PUSH_MAX_MB)`)
      }
      if (end !== 'whole') await drain(request)
    } catch (thrown) {
      // The client left, or sent garbage: before the pack is complete there is nothing to go on with.
      this.#deps.log.info({ app, err: thrown }, 'push broken off')
      await this.#breakOff()
    }
  }

  /** Breaks it off and says so, also to a client that sends no more; what is being judged already was sent in time. */
  async cut(reason: unknown): Promise<void> {
    if (this.#isBrokenOff || this.#isJudged) return
    await this.#refuse(messageOf(reason))
    await this.#push.reply.end()
    await drain(this.#push.request)
  }

  /** git may find a pack complete whose request is not; nothing of a push that was broken off is kept. */
  guarding(decisions: Decisions): Decisions {
    return {
      judge: async (question) => {
        this.clock.stop()
        this.#isJudged = true
        return this.#isBrokenOff ? 'refuse' : decisions.judge(question)
      },
      decide: (updates, options, gone) => decisions.decide(updates, options, gone),
    }
  }

  #refuse(reason: string): Promise<void> {
    this.#push.reply.refuse(refuseAll(this.#push.head.updates, reason))
    return this.#breakOff()
  }

  // A git that finds its input cut off cleans up after itself better than one that is ended.
  async #breakOff(): Promise<void> {
    this.#isBrokenOff = true
    this.#child.stdin?.destroy()
    await Promise.race([exitOf(this.#child), setTimeout(breakOffWithinMs, null, { ref: false })])
    await endGroup(this.#child)
  }
}

function serveHooks(
  { stdio: [, , , policy, protocol] }: ChildProcess,
  { judge, decide }: Decisions,
  { app, gone, log }: { app: string; gone: AbortSignal; log: GatewayDeps['log'] },
): void {
  if (!(policy instanceof Duplex) || !(protocol instanceof Duplex)) {
    throw new AppError('INTERNAL', 'git receive-pack started without the channels of its hooks')
  }
  const decideUntilGone = (updates: RefUpdate[], options: string[]) => decide(updates, options, gone)
  for (const conversation of [answerPreReceive(policy, judge), answerProcReceive(protocol, decideUntilGone)]) {
    conversation.catch((thrown: unknown) => {
      // With its channels gone the hook fails, and git with it.
      log.error({ app, err: thrown }, 'push hook broke')
      policy.destroy()
      protocol.destroy()
    })
  }
}

// What git says on stderr, bounded; a reader must be there or it stops when the pipe is full.
function collect(stream: Readable | null): () => string {
  let text = ''
  stream?.on('data', (chunk: Buffer) => {
    if (text.length < 4000) text += chunk.toString('utf8')
  })
  return () => text.trim()
}
