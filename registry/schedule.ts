import type { Log } from './log.ts'

/**
 * Runs `task` now and then `periodMs` after each run has ended. A run that throws is logged and the next one comes all the same. `soon`
 * has the next run begin now, or right after the one under way. `close` waits for the run under way.
 */
export function every(
  periodMs: number,
  task: () => Promise<void>,
  { log, name }: { log: Log; name: string },
): { soon(): void; close(): Promise<void> } {
  let timer: NodeJS.Timeout | null = null
  let isClosed = false
  let isSoon = false
  const run = async () => {
    try {
      await task()
    } catch (thrown) {
      log.error({ err: thrown, task: name }, 'scheduled task failed')
    }
    if (!isClosed) timer = setTimeout(start, isSoon ? 0 : periodMs)
    isSoon = false
  }
  const start = () => {
    timer = null
    running = run()
  }
  let running = run()
  return {
    soon() {
      isSoon = true
      if (!timer || isClosed) return
      clearTimeout(timer)
      isSoon = false
      start()
    },
    async close() {
      isClosed = true
      if (timer) clearTimeout(timer)
      await running
    },
  }
}
