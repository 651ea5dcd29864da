import { writeSync } from 'node:fs'
import { type Logger, pino } from 'pino'

export type Log = Logger

/** A role's log: JSON lines on stderr, level by ATELIER_LOG_LEVEL (default `info`). Fields first, then a fixed phrase. */
export function createLog(role: string): Log {
  return pino(
    { base: { role }, level: process.env.ATELIER_LOG_LEVEL || 'info', timestamp: pino.stdTimeFunctions.isoTime },
    { write: writeLine },
  )
}

// Not pino's own destination: at exit that one writes again and again, for ever, to a reader that has gone or a disk that is full. A line
// that cannot be written is lost instead; a role must neither end nor hang for its log.
function writeLine(line: string): void {
  const bytes = Buffer.from(line)
  try {
    for (let written = 0; written < bytes.length; ) written += writeSync(2, bytes, written)
  } catch {
    return
  }
}
