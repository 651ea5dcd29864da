import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Encoding } from '../registry/encodings.ts'
import type { BestForm } from './best-forms.worker.ts'
import { type EncodedSibling, isWorthwhile } from './encodings.ts'

const entry = join(import.meta.dirname, 'best-forms.worker.ts')

/** One thread of low priority that compresses as well as can be, a file at a time. It is there while there is something to do. */
export class BestForms {
  #thread: Worker | null = null

  /**
   * The forms a file is to be kept in: of each encoding the smaller of what it has and what the highest level makes of it, if that is worth its
   * place. `content` is null for one it has. Rejects when the thread ends, or on abort.
   */
  async make(content: Buffer, present: Encoding[], signal: AbortSignal): Promise<EncodedSibling[]> {
    const made = await this.#compress(content, signal)
    return made.flatMap((form): EncodedSibling[] => {
      const bytes = Buffer.from(form.content.buffer, form.content.byteOffset, form.content.byteLength)
      const had = present.find(({ encoding }) => encoding === form.encoding)
      if (had && had.size <= bytes.length) return [{ ...had, content: null }]
      if (!isWorthwhile(bytes.length, content.length)) return []
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      return [{ encoding: form.encoding, sha256, size: bytes.length, content: bytes }]
    })
  }

  /** Ends the thread, whatever it is doing. */
  async close(): Promise<void> {
    const thread = this.#thread
    this.#thread = null
    await thread?.terminate()
  }

  async #compress(content: Buffer, signal: AbortSignal): Promise<BestForm[]> {
    signal.throwIfAborted()
    this.#thread ??= new Worker(entry)
    const thread = this.#thread
    const { promise, resolve, reject } = Promise.withResolvers<BestForm[]>()
    const fail = (error: unknown) => reject(error)
    const exit = () => reject(new Error('the thread that compresses has ended'))
    const abort = () => {
      void this.close()
      reject(signal.reason)
    }
    thread.on('message', resolve)
    thread.on('error', fail)
    thread.on('exit', exit)
    signal.addEventListener('abort', abort)
    try {
      thread.postMessage(content)
      return await promise
    } catch (thrown) {
      await this.close()
      throw thrown
    } finally {
      thread.off('message', resolve)
      thread.off('error', fail)
      thread.off('exit', exit)
      signal.removeEventListener('abort', abort)
    }
  }
}
