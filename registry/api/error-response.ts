import { AppError, ERRORS, type ErrorCode, messageOf, toAppError } from '../errors.ts'
import type { Log } from '../log.ts'
import { isUnreachable } from '../sql.ts'
import { RateLimited } from './rate-limits.ts'

export type ErrorBody = { error: { code: ErrorCode; message: string } }

/** Anything thrown, as the answer people see. */
export function errorResponse(thrown: unknown, { log }: { log: Log }): Response {
  const shown = showError(thrown, { log })
  const { status } = ERRORS[shown.error.code]
  return Response.json(shown, { status, headers: { ...headersFor(status), ...limitHeadersOf(thrown) } })
}

/** What people may know of anything thrown. The platform's own faults are logged, and details of the unforeseen stay in the log. */
export function showError(thrown: unknown, { log }: { log: Log }): ErrorBody {
  const error = translate(thrown)
  const { fault, summary } = ERRORS[error.code]
  if (fault === 'platform') log.error({ err: error, code: error.code }, 'request failed')
  return {
    error: { code: error.code, message: error.code === 'INTERNAL' ? `${summary}; its log says more` : error.message },
  }
}

export function errorBody(code: ErrorCode, message: string): ErrorBody {
  return { error: { code, message } }
}

function limitHeadersOf(thrown: unknown): Record<string, string> {
  return thrown instanceof RateLimited ? thrown.headers : {}
}

function translate(thrown: unknown): AppError {
  if (isUnreachable(thrown))
    return new AppError(
      'DATABASE_UNAVAILABLE',
      `the database does not answer (${messageOf(thrown)}); apps are served on; try again`,
      {
        cause: thrown,
      },
    )
  return toAppError(thrown)
}

function headersFor(status: number): Record<string, string> {
  if (status === 401) return { 'www-authenticate': 'Bearer realm="atelier"' }
  if (status === 429) return { 'retry-after': '60' }
  return status === 503 ? { 'retry-after': '5' } : {}
}
