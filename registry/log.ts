import { writeSync } from 'node:fs'
import { type Logger, pino } from 'pino'
import { codeOf } from './errors.ts'

export type Log = Logger

/** A role's log: JSON lines on stderr, level by ATELIER_LOG_LEVEL (default `info`). Fields first, then a fixed phrase. */
export function createLog(role: string, write: (line: string) => void = writeLine): Log {
  const level = process.env.ATELIER_LOG_LEVEL || 'info'
  const options = {
    base: { role },
    level,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  }
  return pino(options, { write })
}

// Drivers hang whole connections on their errors: only what says something is logged.
function describeError(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return String(thrown)
  const { name, message, stack, cause } = thrown
  const code = codeOf(thrown)
  return {
    type: name,
    message,
    ...(code && { code }),
    stack,
    ...(cause !== undefined && { cause: describeError(cause) }),
  }
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
