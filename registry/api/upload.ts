import type { Readable } from 'node:stream'
import { sourceKey } from '../bundle-store/keys.ts'
import { AppError } from '../errors.ts'
import { holdSource } from '../holds.ts'
import { isVersionTaken } from '../sources.ts'
import { parseVersion, timestampVersion } from '../version.ts'
import type { ApiDeps } from './call.ts'
import { repackSource } from './source-archive.ts'

export type Upload = {
  version: string
  sourceKey: string
  /** The same for the same files. */
  sourceTree: string
}

// Versions being uploaded right now, for the store keeps the first of two sources of one name and says nothing of the second.
const uploading = new Set<string>()

/**
 * Checks an uploaded .tar.gz entry by entry while storing it as the source of a version: whole or not at all.
 * Throws VERSION_ILLEGAL, NAME_TAKEN, SOURCE_INVALID, REQUEST_TOO_LARGE, STORE_UNAVAILABLE.
 */
export async function storeUpload(
  body: Readable,
  wanted: { app: string; version: string | null },
  { sql, store, config }: Pick<ApiDeps, 'sql' | 'store' | 'config'>,
): Promise<Upload> {
  if (wanted.version !== null) refuseUnlessWhole(wanted.version)
  const upload = await reserve(wanted, { sql, store })
  try {
    const digest = await repackSource(body, config.pushLimits, (source) => store.put(upload.sourceKey, source))
    return { ...upload, sourceTree: `upload ${digest}` }
  } finally {
    uploading.delete(upload.sourceKey)
  }
}

// A version names one content for ever, also when its source is no longer kept. The time is taken second by second until one is free; a name somebody chose is refused.
async function reserve(
  { app, version }: { app: string; version: string | null },
  { sql, store }: Pick<ApiDeps, 'sql' | 'store'>,
): Promise<Omit<Upload, 'sourceTree'>> {
  for (let second = 0; ; second += 1) {
    const name = version ?? timestampVersion(new Date(Date.now() + second * 1000))
    const key = sourceKey(app, name)
    if (!uploading.has(key)) {
      uploading.add(key)
      if (await isFree({ app, version: name, key }, { sql, store })) return { version: name, sourceKey: key }
      uploading.delete(key)
    }
    if (version !== null)
      throw new AppError(
        'NAME_TAKEN',
        `${app} has a version ${version} already (one that failed counts too); choose another name, or if it was built: atelier redeploy ${version}`,
      )
  }
}

async function isFree(
  { key, ...named }: { app: string; version: string; key: string },
  { sql, store }: Pick<ApiDeps, 'sql' | 'store'>,
): Promise<boolean> {
  try {
    await holdSource(sql, key)
    return !(await store.has([key])).has(key) && !(await isVersionTaken(sql, named))
  } catch (thrown) {
    uploading.delete(key)
    throw thrown
  }
}

/** Throws VERSION_ILLEGAL for what is not the whole of a name. */
export function refuseUnlessWhole(version: string): void {
  const { kind } = parseVersion(version)
  if (kind === 'number' || (kind === 'sha' && !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(version)))
    throw new AppError(
      'VERSION_ILLEGAL',
      `${version} cannot name a new version: use a release (1.2.3) or a whole git SHA`,
    )
}
