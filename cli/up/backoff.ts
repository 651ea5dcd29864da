const firstMs = 200
const longestMs = 10_000
/** A program that lived this long was healthy: its next crash counts as the first. */
const forgivenAfterMs = 30_000

/** The wait before a crashed program is started again: 0.2 s, doubled by every crash that follows soon, 10 s at most. */
export class Backoff {
  #nextMs = firstMs

  delayAfter(livedMs: number): number {
    if (livedMs >= forgivenAfterMs) this.#nextMs = firstMs
    const delayMs = this.#nextMs
    this.#nextMs = Math.min(delayMs * 2, longestMs)
    return delayMs
  }
}

/** Resolves after the time, or as soon as the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, signal.aborted ? 0 : ms)
    signal.addEventListener('abort', end)
  })
}
