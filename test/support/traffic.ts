import { Agent } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { ask } from './http.ts'

export type Failure = { atMs: number; status: number | null; problem: string }

const clients = 4
const pauseMs = 4
const maxFailures = 100

/** A client that asks for one page again and again (four connections, some hundred requests a second) and writes down what it got. */
export class Traffic {
  /** Every answer that was not 2xx, every broken connection; the first hundred. */
  readonly failures: Failure[] = []
  /** The distinct bodies, in the order they were first seen. */
  readonly bodiesSeen: string[] = []
  count = 0
  readonly #stop = new AbortController()
  readonly #loops: Promise<void>[]
  readonly #startedAt = performance.now()

  constructor(port: number, host: string, path: string) {
    this.#loops = Array.from({ length: clients }, () => this.#loop(port, host, path))
  }

  async stop(): Promise<this> {
    this.#stop.abort()
    await Promise.all(this.#loops)
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #loop(port: number, host: string, path: string): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    while (!this.#stop.signal.aborted) {
      try {
        const { status, body } = await ask(port, host, path, { agent })
        this.#see(status, body)
      } catch (thrown) {
        this.#fail(null, String(thrown))
      }
      await pause(pauseMs)
    }
    agent.destroy()
  }

  #see(status: number, body: string): void {
    this.count += 1
    if (status < 200 || status > 299) this.#fail(status, body.slice(0, 200))
    else if (!this.bodiesSeen.includes(body)) this.bodiesSeen.push(body)
  }

  #fail(status: number | null, problem: string): void {
    const atMs = Math.round(performance.now() - this.#startedAt)
    if (this.failures.length < maxFailures) this.failures.push({ atMs, status, problem })
  }
}
