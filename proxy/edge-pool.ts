import { setTimeout as pause } from 'node:timers/promises'
import { AppError } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { Purge } from '../registry/purges.ts'
import type { Route } from '../registry/routes.ts'
import type { EdgeSettings, FromEdge, ListenOn, RouteChange, SentError, ToEdge } from './edge-messages.ts'
import { EdgeProcess, type EdgeProcessLimits } from './edge-process.ts'
import type { Edges } from './hosts/local-deployment.ts'
import { edgeRoute } from './known-routes.ts'
import { canSharePorts, claimPort } from './port.ts'

export type EdgePoolDeps = {
  /** How many processes, where they can share a port. */
  count: number
  settings: Omit<EdgeSettings, 'number'>
  env: NodeJS.ProcessEnv
  limits: EdgeProcessLimits
  log: Log
  /** What a process that begins must know before it serves: deployments, then routes. */
  known: () => { messages: ToEdge[]; routes: Route[] }
  /** A process asks for something; `reply` goes to it alone. */
  onAsked: (message: FromEdge, reply: (message: ToEdge) => void) => void
}

const firstBackoffMs = 200
const maxBackoffMs = 10_000
/** A process that lived this long was healthy: the next is started at once. */
const healthyMs = 30_000
/** Between an edge's own deadline and the moment when nobody waits for its word any more. */
const wordMs = 3_000

/**
 * The edge processes of this machine, which share one port. One that ends or hangs is started again and told what the others know; the
 * hosts of the apps are not touched by that.
 */
export class EdgePool implements Edges {
  readonly #deps: EdgePoolDeps
  readonly #edges = new Set<EdgeProcess>()
  readonly #running: Promise<void>[] = []
  readonly #closing = new AbortController()
  #listen: ListenOn = { host: '', port: 0, shares: false }
  #order = 0

  constructor(deps: EdgePoolDeps) {
    this.#deps = deps
  }

  get port(): number {
    return this.#listen.port
  }

  /** Of the processes that run now. */
  get pids(): number[] {
    return [...this.#edges].map(({ pid }) => pid)
  }

  /** Resolves when every process serves, or has ended once. Throws PORT_IN_USE. */
  async open({ host, port }: { host?: string; port: number }): Promise<void> {
    const count = (await canSharePorts()) ? this.#deps.count : 1
    this.#listen = { ...(await claimPort({ host, port })), port, shares: count > 1 }
    const others = () => Array.from({ length: count - 1 }, (_, index) => this.#begin(index + 2))
    const first = this.#begin(1)
    // A port of the system's choice is known when the first has it.
    const together = port === 0 ? [] : others()
    const answer = await first
    if (typeof answer !== 'number') {
      await this.close(0)
      throw answer ? errorFrom(answer) : new AppError('INTERNAL', 'the first edge process ended as it started')
    }
    this.#listen = { ...this.#listen, port: answer }
    await Promise.all(port === 0 ? others() : together)
  }

  tell(message: ToEdge): void {
    for (const edge of this.#edges) edge.tell(message)
  }

  /** Tells every process of a change, or of none; resolves when all go by it and by every change before it. */
  async follow(change: RouteChange<Route> | null): Promise<void> {
    if (change) {
      this.#order++
      this.tell({ type: 'routes', order: this.#order, changed: change.changed.map(edgeRoute), gone: change.gone })
    }
    const order = this.#order
    await Promise.all([...this.#edges].map((edge) => edge.seen(order)))
  }

  /** Has every process forget what is named of apps' answers, or all there is; resolves when they have. */
  async purge(purges: Purge[] | null): Promise<void> {
    const order = ++this.#order
    this.tell({ type: 'purge', order, purges })
    await Promise.all([...this.#edges].map((edge) => edge.seen(order)))
  }

  async drain(id: string, { deadlineMs, signal }: { deadlineMs: number; signal: AbortSignal }): Promise<boolean> {
    const { promise: calledOff, resolve } = Promise.withResolvers<boolean>()
    const callOff = () => {
      this.tell({ type: 'keep', id })
      resolve(false)
    }
    signal.addEventListener('abort', callOff, { once: true })
    const timer = setTimeout(() => resolve(false), deadlineMs + wordMs)
    const drained = Promise.all([...this.#edges].map((edge) => edge.retire(id, deadlineMs)))
    try {
      return await Promise.race([drained.then((cut) => !cut.includes(true)), calledOff])
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', callOff)
    }
  }

  async doze(id: string): Promise<boolean> {
    const answers = Promise.all([...this.#edges].map((edge) => edge.doze(id)))
    // One that hangs may have something of it in flight.
    const all = await Promise.race([answers, pause(wordMs, [false])])
    return !all.includes(false)
  }

  /** Lets what is in flight end, for so long. */
  async close(deadlineMs: number): Promise<void> {
    this.#closing.abort()
    await Promise.all([...this.#edges].map((edge) => edge.close(deadlineMs)))
    await Promise.all(this.#running)
  }

  // Keeps a process of this number running until the pool is closed; resolves with what the first one said.
  #begin(number: number): Promise<number | SentError | null> {
    const { promise: first, resolve } = Promise.withResolvers<number | SentError | null>()
    this.#running.push(this.#keepRunning(number, resolve))
    return first
  }

  async #keepRunning(number: number, tellFirst: (answer: number | SentError | null) => void): Promise<void> {
    const { signal } = this.#closing
    for (let backoffMs = 0; !signal.aborted; ) {
      const edge = this.#start(number)
      const answer = await edge.serving
      tellFirst(answer)
      if (typeof answer === 'object' && answer) edge.kill(answer.message)
      const { how, livedMs } = await edge.ended
      this.#edges.delete(edge)
      if (signal.aborted) break
      if (livedMs >= healthyMs) backoffMs = 0
      this.#deps.log.warn({ edge: number, pid: edge.pid, how, restartInMs: backoffMs }, 'edge process ended')
      await pause(backoffMs, null, { signal }).catch(() => null)
      backoffMs = Math.min(Math.max(backoffMs * 2, firstBackoffMs), maxBackoffMs)
    }
  }

  #start(number: number): EdgeProcess {
    const { settings, env, limits, log, known, onAsked } = this.#deps
    const edge: EdgeProcess = new EdgeProcess({
      env,
      limits,
      onMessage: (message) => onAsked(message, (reply) => edge.tell(reply)),
    })
    this.#edges.add(edge)
    edge.tell({ type: 'begin', settings: { ...settings, number } })
    const { messages, routes } = known()
    for (const message of messages) edge.tell(message)
    edge.tell({ type: 'routes', order: this.#order, changed: routes.map(edgeRoute), gone: [] })
    edge.tell({ type: 'listen', ...this.#listen })
    void edge.serving.then((answer) => {
      if (typeof answer === 'number') log.info({ edge: number, pid: edge.pid, port: answer }, 'edge process serves')
    })
    return edge
  }
}

function errorFrom({ code, message }: SentError): AppError {
  return new AppError(code === 'PORT_IN_USE' ? code : 'INTERNAL', message)
}
