import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Program } from './launch.ts'

/** Hands on what the program writes, up to `outputBytes` in all and at most `outputBytesPerSec`. */
export function passOutput(child: ChildProcess, { limits, onOutput }: Program, onTooMuch: () => void): void {
  let left = limits.outputBytes ?? Number.POSITIVE_INFINITY
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = child[name]
    if (!stream) continue
    if (limits.outputBytesPerSec) slowDown(stream, limits.outputBytesPerSec)
    stream.on('data', (chunk: Buffer) => {
      if (left < 0) return
      const isTooMuch = chunk.length > left
      onOutput?.(name, isTooMuch ? chunk.subarray(0, left) : chunk)
      left -= chunk.length
      if (isTooMuch) onTooMuch()
    })
  }
}

/** Resolves when both streams are at their end; the tree is gone, so that is now, unless the program gave one away over a socket. */
export async function whenDrained(child: ChildProcess): Promise<void> {
  const open = [child.stdout, child.stderr].filter((stream) => stream !== null).filter((stream) => !stream.closed)
  const timer = setTimeout(() => {
    for (const stream of open) stream.destroy()
  }, 1000)
  await Promise.all(open.map((stream) => new Promise((closed) => stream.resume().once('close', closed))))
  clearTimeout(timer)
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
