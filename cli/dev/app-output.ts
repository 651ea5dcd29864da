import type { Client } from '../client.ts'
import { Failure } from '../failure.ts'
import { paint, print } from '../output.ts'

const retryMs = 1000

/** Shows what the app writes, as long as it is open. */
export class AppOutput {
  readonly #client: Client
  readonly #app: string
  readonly #closing = new AbortController()

  constructor(client: Client, app: string) {
    this.#client = client
    this.#app = app
    void this.#follow()
  }

  close(): void {
    this.#closing.abort()
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing
    const asked = { params: { app: this.#app }, query: { follow: true, tail: 0 }, signal }
    while (!signal.aborted) {
      try {
        for await (const event of this.#client.stream('GET apps/{app}/logs', asked))
          if (event.type === 'log') print(shown(event))
      } catch (thrown) {
        // It comes back, or this command ends and says why.
        if (!(thrown instanceof Failure)) throw thrown
      }
      if (!signal.aborted) await new Promise((settle) => setTimeout(settle, retryMs))
    }
  }
}

function shown({ stream, text }: { stream: string; text: string }): string {
  if (stream === 'stderr') return paint('yellow', text)
  return stream === 'platform' ? paint('dim', text) : text
}
