import { createLog, type Log } from '../../registry/log.ts'

/** A role's log as it is written, line by line (JSON), where a test can read it. */
export function recordLog(): { log: Log; lines: string[] } {
  const lines: string[] = []
  return { log: createLog('test', (line) => lines.push(line)), lines }
}
