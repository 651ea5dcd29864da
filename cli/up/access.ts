import { createSignInCode } from '../../registry/console-sessions.ts'
import type { Sql } from '../../registry/sql.ts'
import { ensureAdminToken, listTokens, makeFirstAdminToken, newSecret } from '../../registry/tokens.ts'
import { readPrivately, writePrivately } from './private-file.ts'

/**
 * The admin's token, in a file only the home's owner may read; made on the first start. A damaged or deleted file is replaced, and its
 * token with it. Returns a code that signs one browser in to the console, once, with the admin's rights.
 */
export async function provideAccess(sql: Sql, adminTokenFile: string): Promise<{ signInCode: string }> {
  const kept = await readToken(adminTokenFile)
  const secret = kept ?? newSecret()
  await ensureAdminToken(sql, secret)
  if (secret !== kept) await writePrivately(adminTokenFile, `${secret}\n`)
  const { code } = await createSignInCode(sql, { tokenId: 'admin' })
  return { signInCode: code }
}

/**
 * The same for a registry that is started by itself, and only while the platform has no token at all: the file is in the home of whoever
 * comes first, and nobody who comes later, with whatever file, becomes the admin by it.
 */
export async function provideFirstAccess(sql: Sql, adminTokenFile: string): Promise<{ isNew: boolean }> {
  if ((await listTokens(sql)).length > 0) return { isNew: false }
  const secret = (await readToken(adminTokenFile)) ?? newSecret()
  await writePrivately(adminTokenFile, `${secret}\n`)
  return { isNew: await makeFirstAdminToken(sql, secret) }
}

/** A new admin token, in the file; the one before stops working. For whoever has lost it and holds the database's address. */
export async function renewAdminToken(sql: Sql, adminTokenFile: string): Promise<void> {
  const secret = newSecret()
  await writePrivately(adminTokenFile, `${secret}\n`)
  await ensureAdminToken(sql, secret)
}

async function readToken(file: string): Promise<string | null> {
  const kept = (await readPrivately(file))?.trim() ?? ''
  return /^atl_[A-Za-z0-9_-]{43}$/.test(kept) ? kept : null
}
