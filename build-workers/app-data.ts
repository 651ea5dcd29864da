import { chmod, mkdir } from 'node:fs/promises'
import type { StepLog } from '../registry/build-logs.ts'
import { countEdges } from '../registry/edges.ts'
import { AppError } from '../registry/errors.ts'
import type { Sql } from '../registry/sql.ts'
import { giveTo, type SandboxUser } from '../sandbox/users.ts'

/** Says what an app with a folder of its own is bound to. Throws CONFIG_INVALID where several proxies run it: each would have a folder of its own. */
export async function announceData(isWanted: boolean, { sql, log }: { sql: Sql; log: StepLog }): Promise<void> {
  if (!isWanted) return
  const edges = await countEdges(sql)
  if (edges > 1) {
    const message = `data: true keeps files on one machine, and this app runs at ${edges} proxies; keep them in a database or a bucket`
    throw new AppError('CONFIG_INVALID', message)
  }
  log.line(
    '-----> Data        /data stays on this machine; the old and the new version share it, a rollback leaves it as it is',
  )
}

/** An empty folder in its place, for a version that is only tried. */
export async function emptyData(folder: string, user: SandboxUser): Promise<string> {
  await mkdir(folder, { mode: 0o700 })
  await chmod(folder, 0o700)
  await giveTo(folder, user)
  return folder
}
