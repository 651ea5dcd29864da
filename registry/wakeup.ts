import type { Sql } from './sql.ts'

/**
 * Listens on NOTIFY channels and turns what arrives into one pending wake-up: `notify` wakes, a `select` informs. The subscription outlives
 * lost connections (the driver subscribes again, which wakes too, for something may have been missed).
 */
export class Wakeup {
  #pending = false
  #wake: (() => void) | null = null
  #unlisten: (() => Promise<unknown>)[] = []

  static async on(
    sql: Sql,
    channelNames: string[],
    matters: (payload: string) => boolean = () => true,
  ): Promise<Wakeup> {
    const wakeup = new Wakeup()
    for (const channel of channelNames) {
      const { unlisten } = await sql.listen(
        channel,
        (payload) => {
          if (matters(payload)) wakeup.wake()
        },
        () => wakeup.wake(),
      )
      wakeup.#unlisten.push(unlisten)
    }
    return wakeup
  }

  wake(): void {
    this.#pending = true
    this.#wake?.()
  }

  /** Resolves at the next wake-up (at once when one is pending), after `timeoutMs`, or on abort. */
  async next({ timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal }): Promise<void> {
    if (!this.#pending && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', done)
          this.#wake = null
          resolve()
        }
        const timer = setTimeout(done, timeoutMs)
        signal?.addEventListener('abort', done)
        this.#wake = done
      })
    }
    this.#pending = false
  }

  async close(): Promise<void> {
    this.wake()
    // A connection that is gone listens to nothing any more; its error belongs to whoever queries.
    await Promise.allSettled(this.#unlisten.splice(0).map((unlisten) => unlisten()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
