// How the command ends: 0 it did what was asked, 1 the user's fault or a failed deployment, 2 usage, 3 the platform's fault.

/** What ends a command: one sentence saying what happened and what to do next, shown as `atelier: <message>`. */
export class Failure extends Error {
  /** One of those, or what a command that was run (`atelier run`) has ended with. */
  readonly exitCode: number
  readonly code: string
  /** What is wrong stands in the answer already: nothing is added to it but the exit code. */
  readonly isTold: boolean

  constructor(
    message: string,
    { exitCode = 1, code = 'FAILED', isTold = false }: { exitCode?: number; code?: string; isTold?: boolean } = {},
  ) {
    super(message)
    this.name = 'Failure'
    this.exitCode = exitCode
    this.code = code
    this.isTold = isTold
  }
}

/** A command typed wrongly: exit code 2. */
export function usage(message: string): Failure {
  return new Failure(message, { exitCode: 2, code: 'USAGE' })
}

/** Anything thrown, as a Failure; what was not foreseen is ours (exit code 3) and keeps its stack for ATELIER_DEBUG. */
export function toFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const failure = new Failure(message, { exitCode: 3, code: 'INTERNAL' })
  if (thrown instanceof Error && thrown.stack) failure.stack = thrown.stack
  return failure
}
