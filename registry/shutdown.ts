import { toAppError } from './errors.ts'
import type { Log } from './log.ts'

/**
 * Runs `stop` once when the process is asked to end: SIGTERM, SIGINT, or the supervisor gone (its IPC channel closed). Exits 0 when `stop`
 * is done, 1 when it fails or takes longer than `deadlineMs`.
 */
export function onShutdown(
  stop: () => Promise<void>,
  { log, deadlineMs = 40_000 }: { log: Log; deadlineMs?: number },
): void {
  let isStopping = false
  const shutDown = async (why: string) => {
    if (isStopping) return
    isStopping = true
    log.info({ why }, 'stopping')
    setTimeout(() => process.exit(1), deadlineMs).unref()
    try {
      await stop()
      process.exit(0)
    } catch (thrown) {
      log.error({ err: thrown }, 'stopping failed')
      process.exit(1)
    }
  }
  process.once('SIGTERM', () => void shutDown('SIGTERM'))
  process.once('SIGINT', () => void shutDown('SIGINT'))
  process.once('disconnect', () => void shutDown('the supervisor is gone'))
}

/** Tells the supervisor, if there is one, that this role serves. */
export function tellReady(): void {
  process.send?.({ ready: true })
}

/** Tells the supervisor, if there is one, something that a person should read. */
export function tellNotice(sentence: string): void {
  process.send?.({ notice: sentence })
}

/** Has the supervisor, if there is one, start the server of the apps' databases, which lies still until somebody wants it. */
export function wantAppsServer(): void {
  process.send?.({ wants: 'apps server' })
}

/** Ends a role that cannot serve for a reason that starting it again does not mend: one sentence to the supervisor, or to the log. */
export async function refuseToStart(thrown: unknown, { log }: { log: Log }): Promise<never> {
  const { code, message } = toAppError(thrown)
  log.fatal({ code }, message)
  const { send } = process
  if (send) await new Promise((done) => send.call(process, { refused: { code, message } }, done))
  process.exit(1)
}
