import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { AppError } from '../../registry/errors.ts'

/**
 * Copies an object of the store to a path on this machine. It is there whole and with the right digest, or not at all: other bytes never
 * get a name under which they could be served or started. Throws STORE_CORRUPT, STORE_UNAVAILABLE.
 */
export async function download(
  store: Pick<BundleStore, 'get'>,
  { key, sha256 }: { key: string; sha256: string },
  path: string,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 })
  const temporary = join(dirname(path), `.${randomUUID()}`)
  const hash = createHash('sha256')
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      done(null, chunk)
    },
  })
  try {
    await pipeline(await store.get(key), hashing, createWriteStream(temporary, { flags: 'wx', flush: true }))
    const digest = hash.digest('hex')
    if (digest !== sha256)
      throw new AppError('STORE_CORRUPT', `${key} has the digest ${digest}, not ${sha256}; it is not used`)
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}
