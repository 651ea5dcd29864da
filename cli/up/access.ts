import type { Sql } from '../../registry/sql.ts'
import { createToken, deleteToken, ensureAdminToken, listTokens, newSecret } from '../../registry/tokens.ts'
import { readPrivately, writePrivately } from './private-file.ts'

const signInName = 'console sign-in link'
const signInMinutes = 60

/** The admin's token, in a file only the home's owner may read; made on the first start. A damaged or deleted file is replaced, and its token with it. */
export async function provideAdminToken(sql: Sql, file: string): Promise<void> {
  const kept = (await readPrivately(file))?.trim()
  const secret = kept && /^atl_[A-Za-z0-9_-]{43}$/.test(kept) ? kept : newSecret()
  await ensureAdminToken(sql, secret)
  if (secret !== kept) await writePrivately(file, `${secret}\n`)
}

/** The token of the ready block's link: good for an hour, and only until the next start. */
export async function makeSignInToken(sql: Sql): Promise<string> {
  const earlier = (await listTokens(sql)).filter(({ name }) => name === signInName)
  for (const { id } of earlier) await deleteToken(sql, id)
  const expiresAt = new Date(Date.now() + signInMinutes * 60_000)
  const { secret } = await createToken(sql, { name: signInName, scope: 'admin', expiresAt })
  return secret
}
