const burstBytes = 8 * 1_048_576
const bytesPerSec = 128 * 1024

type Account = { bytes: number; at: number }

/**
 * How much of what an app writes is kept: 8 MB at once, then 128 kB a second. The registry prunes logs every ten minutes; an app that
 * logged in a loop wrote 6.5 MB a second into Postgres meanwhile.
 */
export class LogAllowance {
  readonly #accounts = new Map<string, Account>()

  /** Takes a line's bytes from the app's allowance. False: it is used up. */
  take(app: string, bytes: number, now = performance.now()): boolean {
    const account = this.#accounts.get(app) ?? { bytes: burstBytes, at: now }
    account.bytes = Math.min(burstBytes, account.bytes + ((now - account.at) / 1000) * bytesPerSec)
    account.at = now
    this.#accounts.set(app, account)
    if (account.bytes < bytes) return false
    account.bytes -= bytes
    return true
  }
}
