import type { Log } from '../log.ts'
import { findLeftPreviews } from '../previews.ts'
import { removePreview } from '../release.ts'
import { forgetClosedHeads, refuseHead } from '../repo-heads.ts'
import type { Sql } from '../sql.ts'

/**
 * Takes down the previews that should not be there: those of closed pull requests, those that have grown too old, and what an app has too many of. Their
 * hosts, data and databases go with the route, by whoever keeps them, as soon as they notice. Returns how many.
 */
export async function removeLeftPreviews({ sql, log }: { sql: Sql; log: Log }): Promise<number> {
  const left = await findLeftPreviews(sql)
  for (const { appId, branch, reason, why } of left) {
    await sql.begin(async (tx) => {
      if (why !== 'closed') await refuseHead(tx, { appId, branch, note: `the preview was removed: ${reason}` })
    })
    await removePreview(sql, { app: appId, branch, by: 'platform', reason })
    log.info({ app: appId, branch, reason }, 'preview removed')
  }
  await forgetClosedHeads(sql)
  return left.length
}
