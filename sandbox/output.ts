import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Program } from './launch.ts'

/** Whether whoever is handed the output has a stream wait, or did just now: what comes after that has to be read yet. */
export type PassedOutput = { isHeld(stream: Readable): boolean }

/** Hands on what the program writes, up to `outputBytes` in all and at most `outputBytesPerSec`. */
export function passOutput(
  child: ChildProcess,
  { limits, onOutput }: Pick<Program, 'limits' | 'onOutput'>,
  onTooMuch: () => void,
): PassedOutput {
  let left = limits.outputBytes ?? Number.POSITIVE_INFINITY
  const held: Held = new Map()
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = child[name]
    if (!stream) continue
    if (limits.outputBytesPerSec) slowDown(stream, limits.outputBytesPerSec)
    stream.on('data', (chunk: Buffer) => {
      if (left < 0) return
      const isTooMuch = chunk.length > left
      const taking = onOutput?.(name, isTooMuch ? chunk.subarray(0, left) : chunk)
      left -= chunk.length
      if (isTooMuch) onTooMuch()
      if (taking) void hold(stream, held, taking)
    })
  }
  return { isHeld: (stream) => (held.get(stream) ?? Number.NEGATIVE_INFINITY) > performance.now() - drainMs }
}

// Until when; without end while it is held.
type Held = Map<Readable, number>
const drainMs = 1000

async function hold(stream: Readable, held: Held, until: Promise<void>): Promise<void> {
  held.set(stream, Number.POSITIVE_INFINITY)
  stream.pause()
  // Why it could not be taken is known to the one who could not take it.
  await until.catch(() => undefined)
  held.set(stream, performance.now())
  stream.resume()
}

/**
 * Resolves when both streams are at their end; the tree is gone, so that is now, unless the program gave one away over a socket, or one is
 * held.
 */
export async function whenDrained(child: ChildProcess, output: PassedOutput): Promise<void> {
  const open = [child.stdout, child.stderr].filter((stream) => stream !== null).filter((stream) => !stream.closed)
  for (const stream of open) if (!output.isHeld(stream) || !stream.isPaused()) stream.resume()
  const watching = setInterval(() => {
    for (const stream of open) if (!output.isHeld(stream)) stream.destroy()
  }, drainMs)
  await Promise.all(open.map((stream) => new Promise((closed) => stream.once('close', closed))))
  clearInterval(watching)
}

// An unread pipe fills, and the program that floods it waits, not the one that reads it.
function slowDown(stream: Readable, bytesPerSec: number): void {
  let windowEnds = performance.now() + 1000
  let seen = 0
  stream.on('data', (chunk: Buffer) => {
    const now = performance.now()
    if (now > windowEnds) {
      windowEnds = now + 1000
      seen = 0
    }
    seen += chunk.length
    if (seen <= bytesPerSec || stream.isPaused()) return
    stream.pause()
    setTimeout(() => stream.resume(), windowEnds - now)
  })
}
