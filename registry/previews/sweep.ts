import type { Log } from '../log.ts'
import { removePreview } from '../preview-removal.ts'
import { findLeftPreviews } from '../previews.ts'
import { forgetClosedHeads, refuseHead } from '../repo-heads.ts'
import type { Db, Sql } from '../sql.ts'

/**
 * Takes down the previews that should not be there: those of closed pull requests, those that have grown too old, and what an app has too many of. Their
 * hosts, data and databases go with the route, by whoever keeps them, as soon as they notice. Returns how many.
 */
export async function removeLeftPreviews({ sql, log }: { sql: Sql; log: Log }): Promise<number> {
  let removed = 0
  for (const { appId, branch, reason } of await findLeftPreviews(sql)) {
    // Since it was found somebody may have deployed to it, or opened its pull request again.
    const isDue = async (tx: Db) => {
      const [left] = await findLeftPreviews(tx, { appId, branch })
      if (left && left.why !== 'closed')
        await refuseHead(tx, { appId, branch, note: `the preview was removed: ${left.reason}` })
      return left !== undefined
    }
    if (!(await removePreview(sql, { app: appId, branch, by: 'platform', reason }, { isDue }))) continue
    removed += 1
    log.info({ app: appId, branch, reason }, 'preview removed')
  }
  await forgetClosedHeads(sql)
  return removed
}
