import { type Logger, pino } from 'pino'

export type Log = Logger

/** A role's log: JSON lines on stderr, level by ATELIER_LOG_LEVEL (default `info`). Fields first, then a fixed phrase. */
export function createLog(role: string): Log {
  return pino(
    { base: { role }, level: process.env.ATELIER_LOG_LEVEL || 'info', timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  )
}
