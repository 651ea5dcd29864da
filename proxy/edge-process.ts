import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { codeOf } from '../registry/errors.ts'
import type { FromEdge, SentError, ToEdge } from './edge-messages.ts'

export type EdgeProcessLimits = { pingEveryMs: number; maxUnansweredPings: number; edgeStartMs: number }
export type EdgeEnd = { how: string; livedMs: number }

type Doze = { turn: number; done: (isIdle: boolean) => void }
type Drain = { turn: number; done: (isCut: boolean) => void }

const entry = join(import.meta.dirname, 'edge/main.ts')
// For `edge/freed-memory.ts`.
const execArgv = ['--expose-gc', '--disable-warning=ExperimentalWarning']

/** One edge process as the main process has it: told things in order, heard, watched, and gone at the latest when it is killed. */
export class EdgeProcess {
  /** Resolves with the port it serves on; with the error it refused with; with null when it ended before. */
  readonly serving: Promise<number | SentError | null>
  readonly ended: Promise<EdgeEnd>
  readonly #child: ChildProcess
  readonly #limits: EdgeProcessLimits
  #waiting: { order: number; resolve: () => void }[] = []
  readonly #drains = new Map<string, Drain>()
  readonly #dozes = new Map<string, Doze>()
  readonly #watch: NodeJS.Timeout
  readonly #startedAt = performance.now()
  #markServing: (answer: number | SentError | null) => void = () => undefined
  #serves = false
  #hasEnded = false
  #acknowledged = 0
  #unanswered = 0
  #killedFor: string | null = null

  /** `onMessage` gets what it asks for. */
  constructor({
    env,
    limits,
    onMessage,
  }: {
    env: NodeJS.ProcessEnv
    limits: EdgeProcessLimits
    onMessage: (message: FromEdge) => void
  }) {
    this.#limits = limits
    const serving = Promise.withResolvers<number | SentError | null>()
    this.serving = serving.promise
    this.#markServing = serving.resolve
    this.#child = fork(entry, { env, execArgv, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child.on('message', (message: FromEdge) => {
      this.#hear(message)
      onMessage(message)
    })
    this.ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#end()
        resolve({ how: this.#killedFor ?? how, livedMs: performance.now() - this.#startedAt })
      }
      this.#child.once('exit', (code, signal) => end(signal ?? `exit code ${code}`))
      this.#child.on('error', (error) => this.#child.pid === undefined && end(error.message))
    })
    this.#watch = setInterval(() => this.#look(), limits.pingEveryMs)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  tell(message: ToEdge): void {
    if (this.#hasEnded || !this.#child.connected) return
    this.#child.send(message, (error) => {
      // It is ending: whoever waits for it is told of that.
      if (error && codeOf(error) !== 'EPIPE' && codeOf(error) !== 'ERR_IPC_CHANNEL_CLOSED') this.kill(error.message)
    })
  }

  /** Resolves when it goes by the routes of this order; one that has ended routes nobody. */
  async seen(order: number): Promise<void> {
    if (this.#hasEnded || this.#acknowledged >= order) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push({ order, resolve })
    await promise
  }

  /** Resolves when no request of the deployment is in flight there; true: they were cut. Retiring it again begins anew. */
  retire(id: string, deadlineMs: number): Promise<boolean> {
    if (this.#hasEnded) return Promise.resolve(false)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const turn = (this.#drains.get(id)?.turn ?? 0) + 1
    this.#drains.get(id)?.done(false)
    this.#drains.set(id, { turn, done: resolve })
    this.tell({ type: 'retire', id, turn, deadlineMs })
    return promise
  }

  /** Resolves true when it takes the deployment's host as asleep, false when it has something of it in flight. */
  doze(id: string): Promise<boolean> {
    if (this.#hasEnded) return Promise.resolve(true)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const turn = (this.#dozes.get(id)?.turn ?? 0) + 1
    this.#dozes.get(id)?.done(false)
    this.#dozes.set(id, { turn, done: resolve })
    this.tell({ type: 'doze', id, turn })
    return promise
  }

  /** Lets it end what is in flight, for so long; then it is killed. */
  async close(deadlineMs: number): Promise<void> {
    clearInterval(this.#watch)
    this.tell({ type: 'close', deadlineMs })
    const timer = setTimeout(() => this.kill('it did not end in time'), deadlineMs + 1_000)
    await this.ended
    clearTimeout(timer)
  }

  kill(why: string): void {
    this.#killedFor ??= why
    this.#child.kill('SIGKILL')
  }

  #hear(message: FromEdge): void {
    this.#unanswered = 0
    if (message.type === 'serves') {
      this.#serves = true
      this.#markServing(message.port)
    }
    if (message.type === 'refused') this.#markServing(message.error)
    if (message.type === 'seen') this.#acknowledge(message.order)
    if (message.type === 'drained' && this.#drains.get(message.id)?.turn === message.turn) {
      this.#drains.get(message.id)?.done(message.isCut)
      this.#drains.delete(message.id)
    }
    if (message.type === 'dozed' && this.#dozes.get(message.id)?.turn === message.turn) {
      this.#dozes.get(message.id)?.done(message.isIdle)
      this.#dozes.delete(message.id)
    }
  }

  #acknowledge(order: number): void {
    this.#acknowledged = order
    const served = this.#waiting.filter((one) => one.order <= order)
    this.#waiting = this.#waiting.filter((one) => one.order > order)
    for (const { resolve } of served) resolve()
  }

  // Counted by pings that were sent, not by the clock: when this process itself was held up, nobody was asked.
  #look(): void {
    if (!this.#serves) {
      if (performance.now() - this.#startedAt > this.#limits.edgeStartMs) this.kill('it did not start in time')
      return
    }
    if (this.#unanswered >= this.#limits.maxUnansweredPings) this.kill('its event loop is blocked')
    this.#unanswered++
    this.tell({ type: 'ping' })
  }

  #end(): void {
    this.#hasEnded = true
    clearInterval(this.#watch)
    this.#markServing(null)
    this.#acknowledge(Number.POSITIVE_INFINITY)
    for (const { done } of this.#drains.values()) done(false)
    this.#drains.clear()
    for (const { done } of this.#dozes.values()) done(true)
    this.#dozes.clear()
  }
}
