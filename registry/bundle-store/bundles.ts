import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { AppError } from '../errors.ts'
import { type Manifest, manifest } from '../manifest.ts'
import type { Db } from '../sql.ts'
import type { BundleStore } from './contract.ts'
import { blobKey } from './keys.ts'

/**
 * Says in Postgres that a build counts on these blobs, then asks the store which of them it lacks. In this order: what is taken from the condemned
 * here is not collected, and what is being collected is waited for and lacks then.
 */
export async function missingBlobs(
  sql: Db,
  store: BundleStore,
  { app, build, digests }: { app: string; build: string; digests: string[] },
): Promise<Set<string>> {
  const wanted = [...new Set(digests)]
  await sql`
    insert into blob_refs (sha256, build_id, app_id)
    select sha256, ${build}, ${app}
    from unnest(${wanted}::text[]) as given (sha256)
    on conflict do nothing
  `
  await sql`
    delete from condemned_blobs c
    using (
      select sha256
      from condemned_blobs
      where sha256 = any(${wanted})
      order by sha256
      for update
    ) spared
    where c.sha256 = spared.sha256
  `
  const present = await store.has(wanted.map(blobKey))
  return new Set(wanted.filter((sha256) => !present.has(blobKey(sha256))))
}

/** The manifest under a key, checked against the digest Postgres holds. Throws STORE_CORRUPT. */
export async function readManifest(
  store: BundleStore,
  { key, sha256 }: { key: string; sha256: string },
): Promise<Manifest> {
  const bytes = await readWhole(store, key)
  const digest = createHash('sha256').update(bytes).digest('hex')
  if (digest !== sha256)
    throw new AppError('STORE_CORRUPT', `${key} has the digest ${digest}, not ${sha256}; it is not served`)
  return parseManifest(bytes, key)
}

/** Throws STORE_CORRUPT with every problem and its path. */
export function parseManifest(bytes: Buffer, from: string): Manifest {
  const read = manifest.safeParse(JSON.parse(bytes.toString('utf8')))
  if (read.success) return read.data
  const problems = read.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new AppError('STORE_CORRUPT', `${from} is no manifest: ${problems.slice(0, 5).join('; ')}`)
}

export async function readWhole(store: BundleStore, key: string): Promise<Buffer> {
  const stream: Readable = await store.get(key)
  return buffer(stream)
}
