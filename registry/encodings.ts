import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Environment } from './branches.ts'
import { readWhole } from './bundle-store/bundles.ts'
import type { BundleStore } from './bundle-store/contract.ts'
import { type BuildName, encodingsKey } from './bundle-store/keys.ts'
import { AppError } from './errors.ts'
import { type ManifestFile, manifestFile } from './manifest.ts'
import type { Db } from './sql.ts'

/** A compressed form of a file, a blob of its own. */
export type Encoding = ManifestFile['encodings'][number]

/** Which forms the files of a build are to be served in, by the plain file's digest, where they are smaller than its manifest's. */
export const betterForms = z.object({
  files: z.record(z.string().regex(/^[0-9a-f]{64}$/), manifestFile.shape.encodings),
})
export type BetterForms = z.infer<typeof betterForms>

export type BuildToEncode = { id: string; appId: string; version: string; manifestKey: string; manifestSha256: string }

const coding = ['br', 'zstd', 'gzip'] as const

/** What is known of files whose every form has been made as small as it gets. Digests that are not in it are still to be done. */
export async function recallEncodings(sql: Db, digests: string[]): Promise<Map<string, Encoding[]>> {
  if (digests.length === 0) return new Map()
  const rows = await sql<{ sha256: string; encoding: Encoding['encoding']; encodedSha256: string; size: string }[]>`
    select sha256, encoding, encoded_sha256, size
    from encodings
    where sha256 = any(${[...new Set(digests)]}::text[])
  `
  const bySource = Map.groupBy(rows, ({ sha256 }) => sha256)
  const complete = [...bySource].filter(([, forms]) => forms.length === coding.length)
  return new Map(
    complete.map(([sha256, forms]) => {
      const worthwhile = forms.filter(({ encodedSha256 }) => encodedSha256 !== sha256)
      const described = worthwhile.map(({ encoding, encodedSha256, size }) => ({
        ...{ encoding, sha256: encodedSha256, size: Number(size) },
      }))
      return [sha256, described.sort((a, b) => coding.indexOf(a.encoding) - coding.indexOf(b.encoding))]
    }),
  )
}

/** Says which forms a file has got; of what is not among them, that it is not worth it. Another worker's word counts if it came first. */
export async function recordEncodings(sql: Db, sha256: string, forms: Encoding[]): Promise<void> {
  const rows = coding.map((encoding) => {
    const form = forms.find((one) => one.encoding === encoding)
    return { sha256, encoding, encoded_sha256: form?.sha256 ?? sha256, size: form?.size ?? 0 }
  })
  await sql`insert into encodings ${sql(rows)} on conflict do nothing`
}

/** Forgets forms whose blobs are gone. */
export async function forgetEncodings(sql: Db, encoded: string[]): Promise<void> {
  await sql`delete from encodings where encoded_sha256 = any(${encoded}::text[])`
}

const leaseMinutes = 10
const maxAttempts = 3

/** The newest build with users whose files have not been looked at, for the caller alone as long as it says that it lives. */
export async function claimEncoding(sql: Db): Promise<BuildToEncode | null> {
  const [build] = await sql<BuildToEncode[]>`
    update builds
    set encoding_since = now(),
        encoding_attempts = encoding_attempts + 1
    where id = (
      select b.id
      from builds b
      where b.encoded_at is null
        and b.pruned_at is null
        and b.encoding_attempts < ${maxAttempts}
        and (b.encoding_since is null or b.encoding_since < now() - make_interval(mins => ${leaseMinutes}))
        and exists (
          select from deployments d
          where d.build_id = b.id
            and d.state in ('live', 'canary')
        )
      order by b.created_at desc
      limit 1
      for update skip locked
    )
    returning id, app_id, version, manifest_key, manifest_sha256
  `
  return build ?? null
}

export async function keepEncodingClaim(sql: Db, buildId: string): Promise<void> {
  await sql`update builds set encoding_since = now() where id = ${buildId}`
}

/** Another worker, or this one after it was started again, goes on with it. */
export async function releaseEncodingClaim(sql: Db, buildId: string): Promise<void> {
  await sql`
    update builds
    set encoding_since = null,
        encoding_attempts = greatest(encoding_attempts - 1, 0)
    where id = ${buildId}
  `
}

/**
 * The build is done; `sha256` is that of its better forms, null when its manifest has the best. False: its files have been pruned meanwhile. Those of a
 * version nobody can go back to are still there for pages that are open.
 */
export async function finishEncoding(sql: Db, buildId: string, sha256: string | null): Promise<boolean> {
  const finished = await sql`
    update builds
    set encoded_at = now(),
        encodings_sha256 = ${sha256}
    where id = ${buildId}
      and files_pruned_at is null
    returning id
  `
  return finished.length === 1
}

/** A deployment with users, and the digest of its better forms. */
export type Encoded = {
  id: string
  appId: string
  version: string
  build: string
  environment: Environment
  sha256: string
}

export async function readEncoded(sql: Db): Promise<Encoded[]> {
  return sql<Encoded[]>`
    select d.id, d.app_id, d.version, d.environment, b.id as build, b.encodings_sha256 as sha256
    from routes r
    join deployments d on d.id in (r.live_deployment, r.candidate_deployment)
    join builds b on b.id = d.build_id
    where b.encodings_sha256 is not null
  `
}

/** The better forms of a build, checked against their digest. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
export async function readBetterForms(
  store: BundleStore,
  name: BuildName,
  sha256: string,
): Promise<{ bytes: Buffer; forms: BetterForms }> {
  const key = encodingsKey(name, sha256)
  const bytes = await readWhole(store, key)
  const digest = createHash('sha256').update(bytes).digest('hex')
  if (digest !== sha256) throw new AppError('STORE_CORRUPT', `${key} has the digest ${digest}; it is not used`)
  return { bytes, forms: betterForms.parse(JSON.parse(bytes.toString('utf8'))) }
}

/** Files with their better forms in place of the manifest's. */
export function withBetterForms(files: ManifestFile[], better: BetterForms): ManifestFile[] {
  return files.map((file) => {
    const forms = Object.hasOwn(better.files, file.sha256) ? better.files[file.sha256] : undefined
    return forms ? { ...file, encodings: forms } : file
  })
}
