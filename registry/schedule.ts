import type { Log } from './log.ts'

/**
 * Runs `task` now and then `periodMs` after each run has ended. A run that throws is logged and the next one comes all the same. `close`
 * waits for the run under way.
 */
export function every(
  periodMs: number,
  task: () => Promise<void>,
  { log, name }: { log: Log; name: string },
): { close(): Promise<void> } {
  let timer: NodeJS.Timeout | null = null
  let isClosed = false
  const run = async () => {
    try {
      await task()
    } catch (thrown) {
      log.error({ err: thrown, task: name }, 'scheduled task failed')
    }
    if (!isClosed) timer = setTimeout(start, periodMs)
  }
  const start = () => {
    running = run()
  }
  let running = run()
  return {
    async close() {
      isClosed = true
      if (timer) clearTimeout(timer)
      await running
    },
  }
}
