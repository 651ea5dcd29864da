import type { Config } from '../config.ts'
import type { OutboundHttp } from '../egress/outbound-http.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { channels } from '../routes.ts'
import type { Key } from '../secrets.ts'
import type { Sql } from '../sql.ts'
import { Wakeup } from '../wakeup.ts'
import {
  type Attempt,
  type Claimed,
  claimDelivery,
  type Outcome,
  recordAttempt,
  releaseDelivery,
  untilNextDelivery,
} from './deliveries.ts'
import { renderMessage } from './message.ts'
import { signMessage } from './signature.ts'
import { openWebhook } from './webhooks.ts'

export type DelivererDeps = {
  sql: Sql
  http: Pick<OutboundHttp, 'send'>
  key: Key
  config: Config
  log: Log
  /** After each failed attempt but the last, before jitter. */
  retryAfterSec?: readonly number[]
  lookEveryMs?: number
}

/** Ten attempts within two days. */
export const retryAfterSec = [5, 30, 120, 600, 3600, 10_800, 21_600, 43_200, 86_400] as const
const longestWaitSec = 86_400

const atOnce = 16
const atOnceOfOne = 2
const lookEveryMs = 30_000

/**
 * Sends what waits to be sent, as one of any number of registries: each claims before it sends, and one that dies is made up for. A message comes at
 * least once, and those of a webhook not always in their order. One slow receiver takes two of sixteen places.
 */
export class WebhookDeliverer {
  readonly #deps: DelivererDeps
  readonly #stopping = new AbortController()
  readonly #wakeup = new Wakeup()
  readonly #sending = new Map<Promise<void>, string>()
  readonly #running: Promise<void>

  constructor(deps: DelivererDeps) {
    this.#deps = deps
    const wake = () => this.#wakeup.wake()
    deps.sql.listen(channels.webhooks, wake, wake).catch((err: unknown) => {
      deps.log.warn({ err }, 'webhooks are looked for from time to time only')
    })
    this.#running = this.#run()
  }

  /** What is on its way is given back, to be sent when somebody runs again. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await Promise.all(this.#sending.keys())
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    const { log } = this.#deps
    while (!signal.aborted) {
      let timeoutMs = this.#deps.lookEveryMs ?? lookEveryMs
      try {
        timeoutMs = await this.#look(timeoutMs)
      } catch (err) {
        log.warn({ err }, 'webhooks not looked for')
      }
      await this.#wakeup.next({ timeoutMs, signal })
    }
  }

  // Begins all there is to send, and says when to look again.
  async #look(atMostMs: number): Promise<number> {
    const { sql } = this.#deps
    while (this.#sending.size < atOnce && !this.#stopping.signal.aborted) {
      const except = this.#busy()
      const claimed = await claimDelivery(sql, { except })
      if (!claimed) return Math.min(atMostMs, Math.max(10, (await untilNextDelivery(sql, { except })) ?? atMostMs))
      const sending = this.#send(claimed).finally(() => {
        this.#sending.delete(sending)
        this.#wakeup.wake()
      })
      this.#sending.set(sending, claimed.id)
    }
    return atMostMs
  }

  #busy(): string[] {
    const ids = [...this.#sending.values()]
    return [...new Set(ids)].filter((id) => ids.filter((one) => one === id).length >= atOnceOfOne)
  }

  async #send(claimed: Claimed): Promise<void> {
    const { sql, log } = this.#deps
    const about = { webhook: claimed.id, event: claimed.event.id, type: claimed.event.type, attempt: claimed.attempt }
    try {
      const outcome = await this.#attempt(claimed)
      if (outcome === null) return await releaseDelivery(sql, claimed)
      const recorded = await recordAttempt(sql, claimed, outcome)
      const { status, reason } = outcome.attempt
      if (outcome.kind === 'failed') log.info({ ...about, status, reason }, 'webhook not taken')
      if (recorded?.isDisabled) log.warn(about, 'webhook disabled')
    } catch (err) {
      // Its lease ends, and it is sent again.
      log.warn({ ...about, err }, 'webhook attempt not written down')
    }
  }

  // Null: it was not sent, for this registry ends.
  async #attempt(claimed: Claimed): Promise<Outcome | null> {
    const { http, key, config } = this.#deps
    const { signal } = this.#stopping
    const at = new Date()
    const began = performance.now()
    const tried = (status: number | null, reason: string | null): Attempt => ({
      ...{ at, durationMs: Math.round(performance.now() - began), status, reason },
    })
    try {
      const { address, secrets } = openWebhook(claimed, key)
      const body = renderMessage(claimed.event, claimed.format, config)
      const answer = await http.send({
        url: address,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'atelier-webhooks',
          ...signMessage(secrets, { id: claimed.event.id, at, body }),
        },
        body,
        signal,
      })
      const { status, headers } = answer
      if (status >= 200 && status < 300) return { kind: 'delivered', attempt: tried(status, null) }
      const isGone = status === 410
      const retryInSec = isGone ? null : this.#retryInSec(claimed, headers['retry-after'])
      return { kind: 'failed', attempt: tried(status, `it answered ${status}`), retryInSec, isGone }
    } catch (thrown) {
      if (signal.aborted) return null
      const attempt = tried(null, messageOf(thrown))
      return { kind: 'failed', attempt, retryInSec: this.#retryInSec(claimed), isGone: false }
    }
  }

  // A fifth earlier or later: those that failed together do not come back together. A test is for somebody who waits.
  #retryInSec({ attempt, event }: Claimed, asked: string | undefined = undefined): number | null {
    const wait = (this.#deps.retryAfterSec ?? retryAfterSec)[attempt - 1]
    if (wait === undefined || event.type === 'webhook.test') return null
    const askedSec = /^\d{1,6}$/.test(asked ?? '') ? Number(asked) : 0
    return Math.max(wait * (0.8 + Math.random() * 0.4), Math.min(askedSec, longestWaitSec))
  }
}
