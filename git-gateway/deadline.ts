import { answerWithin } from '../registry/deadline.ts'
import { AppError } from '../registry/errors.ts'
import { isUnreachable } from '../registry/sql.ts'

const databaseAnswersWithinMs = 4_500

/** An answer of the database, or DATABASE_UNAVAILABLE within five seconds: a person waits at the other end. */
export async function answerOfDatabase<T>(question: Promise<T>, withinMs = databaseAnswersWithinMs): Promise<T> {
  try {
    return await answerWithin(question, withinMs, databaseIsAway)
  } catch (thrown) {
    throw isUnreachable(thrown) ? databaseIsAway(thrown) : thrown
  }
}

function databaseIsAway(cause?: unknown): AppError {
  return new AppError(
    'DATABASE_UNAVAILABLE',
    'The database of Atelier does not answer just now. Nothing was changed, what is live stays live; push again in a moment.',
    { cause },
  )
}
