import { createReadStream } from 'node:fs'
import { basename, join } from 'node:path'
import type { Readable } from 'node:stream'
import type { AppError } from '../../registry/errors.ts'
import type { FromEdge } from '../edge-messages.ts'

/**
 * A bundle store elsewhere as an edge process has it: the copies on this machine. The main process, which has the store's keys, brings one
 * that is missing.
 */
export class CopiedStore {
  readonly #directory: string
  readonly #send: (message: FromEdge) => void
  readonly #waiting = new Map<string, PromiseWithResolvers<void>>()

  constructor(directory: string, { send }: { send: (message: FromEdge) => void }) {
    this.#directory = directory
    this.#send = send
  }

  localPath(): null {
    return null
  }

  /** A blob, and nothing else. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
  async get(key: string): Promise<Readable> {
    const digest = basename(key)
    let waiting = this.#waiting.get(digest)
    if (!waiting) {
      waiting = Promise.withResolvers<void>()
      this.#waiting.set(digest, waiting)
      this.#send({ type: 'bring', digest })
    }
    await waiting.promise
    return createReadStream(join(this.#directory, digest))
  }

  brought(digest: string, error: AppError | null): void {
    const waiting = this.#waiting.get(digest)
    this.#waiting.delete(digest)
    if (error) waiting?.reject(error)
    else waiting?.resolve()
  }
}
