import { type Logger, pino } from 'pino'
import { codeOf } from './errors.ts'

export type Log = Logger

/** A role's log: JSON lines on stderr, level by ATELIER_LOG_LEVEL (default `info`). Fields first, then a fixed phrase. */
export function createLog(role: string): Log {
  const level = process.env.ATELIER_LOG_LEVEL || 'info'
  const options = {
    base: { role },
    level,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  }
  return pino(options, pino.destination(2))
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
