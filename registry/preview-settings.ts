import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Db, Sql } from './sql.ts'

export type PreviewSettings = {
  /** A preview to which nothing is deployed for so long is removed. */
  ttlHours: number
  /** Of one app; when there is one more, the one that was deployed longest ago is removed. */
  most: number
  /** What a visitor's password is compared with; null: everybody may look. */
  gate: string | null
}

export const previewDefaults: PreviewSettings = { ttlHours: 14 * 24, most: 20, gate: null }

export async function readPreviewSettings(sql: Db, appId: string): Promise<PreviewSettings> {
  const [settings] = await sql<PreviewSettings[]>`
    select ttl_hours, most, gate
    from preview_settings
    where app_id = ${appId}
  `
  return settings ?? previewDefaults
}

/** What is left out stays. A new gate reaches every edge like a flip does. */
export async function changePreviewSettings(
  sql: Sql,
  appId: string,
  changes: { [Name in keyof PreviewSettings]?: PreviewSettings[Name] },
): Promise<PreviewSettings> {
  return sql.begin(async (tx) => {
    const { ttlHours, most, gate } = { ...(await readPreviewSettings(tx, appId)), ...changes }
    await tx`
      insert into preview_settings (app_id, ttl_hours, most, gate)
      values (${appId}, ${ttlHours}, ${most}, ${gate})
      on conflict (app_id) do update
      set ttl_hours = excluded.ttl_hours, most = excluded.most, gate = excluded.gate
    `
    if (changes.gate !== undefined)
      await tx`
        update routes
        set generation = generation + 1,
            updated_at = now()
        where app_id = ${appId}
          and environment = 'preview'
      `
    return { ttlHours, most, gate }
  })
}

const hash = promisify(scrypt) as (password: string, salt: Buffer, length: number) => Promise<Buffer>
const form = /^scrypt\$([A-Za-z0-9_-]{22})\$([A-Za-z0-9_-]{43})$/

/** A password as it is kept: `scrypt$<salt>$<hash>`, Node's default cost (16 MB, some 50 ms). */
export async function gateOf(password: string): Promise<string> {
  const salt = randomBytes(16)
  return `scrypt$${salt.toString('base64url')}$${(await hash(password, salt, 32)).toString('base64url')}`
}

/** A gate that is no gate opens to nobody. */
export async function opensGate(gate: string, password: string): Promise<boolean> {
  const [, salt, expected] = form.exec(gate) ?? []
  if (!salt || !expected) return false
  return timingSafeEqual(await hash(password, Buffer.from(salt, 'base64url'), 32), Buffer.from(expected, 'base64url'))
}
