import type { Readable } from 'node:stream'
import { AppError } from '../registry/errors.ts'
import { lineOf, PacketReader } from './pkt-line.ts'
import { parseUpdate, type RefUpdate } from './ref-update.ts'

/** What a push says before its pack (gitprotocol-pack(5), "Reference Update Request"). Without updates it is git's probe before a large push. */
export type PushHead = {
  updates: RefUpdate[]
  options: string[]
  capabilities: Set<string>
  /** The bytes read so far, which may reach into the pack. */
  bytes: Buffer
}

const maxBytes = 1_048_576

/**
 * Reads the head off a request body and leaves the rest in it. git reads the same bytes again and its hooks have the last word; this copy
 * serves to refuse early and in git's own lines. Throws REQUEST_INVALID, REQUEST_TOO_LARGE.
 */
export async function readPushHead(body: Readable): Promise<PushHead> {
  const packets = new PacketReader()
  const parser = new HeadParser()
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk)
    size += chunk.length
    packets.push(chunk)
    for (let next = packets.next(); next !== null; next = packets.next()) {
      if (parser.take(next)) return { ...parser.head, bytes: Buffer.concat(chunks) }
    }
    if (size > maxBytes)
      throw new AppError(
        'REQUEST_TOO_LARGE',
        'This push updates more refs than Atelier takes at once (ATELIER_PUSH_MAX_REFS).',
      )
  }
  throw new AppError('REQUEST_INVALID', 'The push ended before it had said what it updates.')
}

class HeadParser {
  readonly head = { updates: [] as RefUpdate[], options: [] as string[], capabilities: new Set<string>() }
  #readsOptions = false

  /** True when the head is complete. */
  take(next: Buffer | string): boolean {
    if (next === 'flush') return this.#endSection()
    if (typeof next === 'string') throw new AppError('REQUEST_INVALID', `a push holds no ${next} packet here`)
    if (this.#readsOptions) this.head.options.push(lineOf(next))
    else this.#takeCommand(next)
    return false
  }

  #endSection(): boolean {
    if (this.#readsOptions || !this.head.capabilities.has('push-options')) return true
    this.#readsOptions = true
    return false
  }

  #takeCommand(payload: Buffer): void {
    const nul = payload.indexOf(0)
    const command = lineOf(nul === -1 ? payload : payload.subarray(0, nul))
    if (command.startsWith('shallow ')) return
    if (nul !== -1) {
      const words = lineOf(payload.subarray(nul + 1))
        .split(' ')
        .filter(Boolean)
      this.head.capabilities = new Set(words)
    }
    this.head.updates.push(parseUpdate(command))
  }
}
