import { messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'

/**
 * Gives what nobody uses of this process's memory back to the system: what V8 keeps of its heap, and then what the C library keeps of what was freed,
 * above all buffers that were collected. Of the ways to collect it takes the one that shrinks the heap.
 */
export function freedMemory(log: Log): () => void {
  const trim = mallocTrim(log)
  return () => {
    const startedAt = performance.now()
    globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    trim?.(0n)
    log.debug({ ms: Math.round(performance.now() - startedAt) }, 'memory given back')
  }
}

// glibc gives back by itself only what lies above the last thing in use. Other C libraries have no such function. node:ffi is experimental: what it
// refuses is done without.
function mallocTrim(log: Log): ((keep: bigint) => unknown) | null {
  try {
    const ffi = process.getBuiltinModule('node:ffi')
    return ffi.dlopen(null, { malloc_trim: { arguments: ['u64'], return: 'i32' } }).functions.malloc_trim
  } catch (thrown) {
    log.debug({ reason: messageOf(thrown) }, 'no malloc_trim here')
    return null
  }
}
