import { answerWithin } from '../registry/deadline.ts'
import { AppError } from '../registry/errors.ts'
import { isUnreachable } from '../registry/sql.ts'

const databaseAnswersWithinMs = 4_500
const nothingChanged = 'Nothing was changed, what is live stays live; push again in a moment.'
const maybeChanged = 'Whether it took this push is not certain: atelier deploys shows it. Pushing again does no harm.'

/** An answer of the database, or DATABASE_UNAVAILABLE within five seconds: a person waits at the other end. */
export function answerOfDatabase<T>(question: Promise<T>, withinMs = databaseAnswersWithinMs): Promise<T> {
  return inTime(question, withinMs, nothingChanged)
}

/**
 * The same for a change. After DATABASE_UNAVAILABLE its `signal` is aborted, so that it is given up should the database come back; of one
 * that was being committed nobody can know.
 */
export async function changeOfDatabase<T>(
  change: (signal: AbortSignal) => Promise<T>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<T> {
  const late = new AbortController()
  try {
    const given = signal ? AbortSignal.any([late.signal, signal]) : late.signal
    return await inTime(change(given), databaseAnswersWithinMs, maybeChanged)
  } catch (thrown) {
    late.abort(thrown)
    throw thrown
  }
}

async function inTime<T>(question: Promise<T>, withinMs: number, consequence: string): Promise<T> {
  const isAway = (cause?: unknown) =>
    new AppError('DATABASE_UNAVAILABLE', `The database of Atelier does not answer just now. ${consequence}`, { cause })
  try {
    return await answerWithin(question, withinMs, isAway)
  } catch (thrown) {
    throw isUnreachable(thrown) ? isAway(thrown) : thrown
  }
}
