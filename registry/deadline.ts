import { AppError } from './errors.ts'

const databaseAnswersWithinMs = 4_500

/**
 * What every request asks first. A database that hangs is found out here, within five seconds and before anything was changed: someone
 * waits at the other end. Throws DATABASE_UNAVAILABLE.
 */
export function answerOfDatabase<T>(question: Promise<T>): Promise<T> {
  const sentence = 'the database does not answer just now; nothing was changed, apps are served on; try again'
  return answerWithin(question, databaseAnswersWithinMs, () => new AppError('DATABASE_UNAVAILABLE', sentence))
}

/** The answer to a question, or the error `late` makes after `withinMs`; what comes after that is heard by nobody. */
export async function answerWithin<T>(question: Promise<T>, withinMs: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), withinMs)
  })
  try {
    return await Promise.race([question, deadline])
  } finally {
    clearTimeout(timer)
  }
}
