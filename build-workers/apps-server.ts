import { setTimeout as pause } from 'node:timers/promises'
import type { Config } from '../registry/config.ts'
import { codeOf } from '../registry/errors.ts'
import { wantAppsServer } from '../registry/shutdown.ts'
import { connect, isUnreachable } from '../registry/sql.ts'

const askEveryMs = 50
// A first start makes the data directory, 1 s on a quiet machine.
const patienceMs = 60_000

/**
 * Has the server of the apps' databases started, which lies still until the first app wants one, and waits until it lets in who makes them. What keeps it
 * from that is said by whoever asks next.
 */
export async function wakeAppsServer({ embedded }: Pick<Config, 'embedded'>, signal: AbortSignal): Promise<void> {
  if (!embedded) return
  wantAppsServer()
  const deadline = performance.now() + patienceMs
  while (!(await isAwake(embedded.appsUrl)) && performance.now() < deadline)
    await pause(askEveryMs, undefined, { signal })
}

// 28P01, 28000: it runs, and its role is being made.
async function isAwake(url: string): Promise<boolean> {
  const sql = connect(url, { max: 1, name: 'atelier-databases' })
  try {
    await sql`select 1`
    return true
  } catch (thrown) {
    if (isUnreachable(thrown) || ['28P01', '28000'].includes(codeOf(thrown) ?? '')) return false
    throw thrown
  } finally {
    await sql.end({ timeout: 1 })
  }
}
