import type { ChildProcess } from 'node:child_process'
import { Duplex, type Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { AppError } from '../registry/errors.ts'
import type { GatewayDeps } from './gateway.ts'
import { endGroup, exitOf } from './git.ts'
import { answerPreReceive, type Question } from './pre-receive.ts'
import { answerProcReceive } from './proc-receive.ts'
import type { PushHead } from './push-head.ts'
import type { PushReply } from './push-reply.ts'
import { type RefUpdate, refuseAll, type Verdict } from './ref-update.ts'
import { drain, feed } from './upload.ts'

/** What is asked in the hooks of a push: may it be kept, and what becomes of each ref. */
export type Decisions = {
  judge(question: Question): Promise<'accept' | 'refuse'>
  decide(updates: RefUpdate[], options: string[]): Promise<Verdict[]>
}

export type Receiving = {
  app: string
  repository: string
  head: PushHead
  /** The rest of the push. */
  body: Readable
  /** True when it may be long: git sends more than a megabyte in chunks. */
  isChunked: boolean
  reply: PushReply
}

const breakOffWithinMs = 2000

/** One `git receive-pack` from start to end, with what it says in the reply. Nothing of it is running when this resolves. */
export async function receivePack(push: Receiving, decisions: Decisions, deps: GatewayDeps): Promise<void> {
  const { app, repository, head, isChunked, reply } = push
  // A large pack is kept as it is: writing its objects one by one took 6.5 s for 100 MB instead of 1.6 s.
  const keepPack = isChunked ? ['-c', 'receive.unpackLimit=1'] : []
  const child = deps.git.start([...keepPack, 'receive-pack', '--stateless-rpc', repository], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  })
  const stderr = collect(child.stderr)
  const upload = new Upload(child, deps)
  serveHooks(child, upload.guarding(decisions), { app, log: deps.log })
  try {
    await Promise.all([upload.run(push), child.stdout && reply.relay(child.stdout)])
    await exitOf(child)
  } finally {
    await endGroup(child)
  }
  if (reply.isReported) return
  deps.log.error({ app, stderr: stderr() }, 'git receive-pack ended without a report')
  reply.refuse(refuseAll(head.updates, 'git on the server ended before it was done; see: atelier deploys'))
}

/** Feeds a push to git, and breaks it off when the client leaves before it is complete, or sends too much. */
class Upload {
  readonly #child: ChildProcess
  readonly #deps: GatewayDeps
  #isBrokenOff = false

  constructor(child: ChildProcess, deps: GatewayDeps) {
    this.#child = child
    this.#deps = deps
  }

  async run({ app, head, body, reply }: Receiving): Promise<void> {
    if (!this.#child.stdin) throw new AppError('INTERNAL', 'git receive-pack started without stdin')
    const { packMb } = this.#deps.config.pushLimits
    try {
      const end = await feed(head.bytes, body, { into: this.#child.stdin, maxBytes: packMb * 1_048_576 })
      if (end === 'oversize') {
        const reason = `the push is larger than ${packMb} MB, this server's limit (ATELIER_PUSH_MAX_MB)`
        reply.refuse(refuseAll(head.updates, reason))
        await this.#breakOff()
      }
      if (end !== 'whole') await drain(body)
    } catch (thrown) {
      // The client left, or sent garbage: before the pack is complete there is nothing to go on with.
      this.#deps.log.info({ app, err: thrown }, 'push broken off')
      await this.#breakOff()
    }
  }

  /** git may find a pack complete whose request is not; nothing of a push that was broken off is kept. */
  guarding(decisions: Decisions): Decisions {
    return {
      judge: async (question) => (this.#isBrokenOff ? 'refuse' : decisions.judge(question)),
      decide: (updates, options) => decisions.decide(updates, options),
    }
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
  { app, log }: { app: string; log: GatewayDeps['log'] },
): void {
  if (!(policy instanceof Duplex) || !(protocol instanceof Duplex)) {
    throw new AppError('INTERNAL', 'git receive-pack started without the channels of its hooks')
  }
  for (const conversation of [answerPreReceive(policy, judge), answerProcReceive(protocol, decide)]) {
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
