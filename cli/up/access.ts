import { createSignInCode } from '../../registry/console-sessions.ts'
import type { Sql } from '../../registry/sql.ts'
import { ensureAdminToken, newSecret } from '../../registry/tokens.ts'
import { readPrivately, writePrivately } from './private-file.ts'

/**
 * The admin's token, in a file only the home's owner may read; made on the first start. A damaged or deleted file is replaced, and its
 * token with it. Returns a code that signs one browser in to the console, once, with the admin's rights.
 */
export async function provideAccess(sql: Sql, adminTokenFile: string): Promise<{ signInCode: string }> {
  const kept = (await readPrivately(adminTokenFile))?.trim()
  const secret = kept && /^atl_[A-Za-z0-9_-]{43}$/.test(kept) ? kept : newSecret()
  await ensureAdminToken(sql, secret)
  if (secret !== kept) await writePrivately(adminTokenFile, `${secret}\n`)
  const { code } = await createSignInCode(sql, 'admin')
  return { signInCode: code }
}
