import { pipeline, Transform } from 'node:stream'
import { constants, createZstdCompress } from 'node:zlib'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import { sourceKey } from '../registry/bundle-store/keys.ts'
import { AppError } from '../registry/errors.ts'
import { endGroup, exitOf, type Git } from './git.ts'

/**
 * Puts the files of a commit into the store as `sources/<app>/<sha>.tar.zst`, for workers never touch the gateway's disk. Returns the key.
 * A commit's files never change, so a source that is there already is left. Throws INTERNAL, STORE_UNAVAILABLE.
 */
export async function keepSnapshot(
  { app, repository, sha }: { app: string; repository: string; sha: string },
  { git, store }: { git: Git; store: BundleStore },
): Promise<string> {
  const key = sourceKey(app, sha)
  if ((await store.has([key])).has(key)) return key

  const child = git.start(['--git-dir', repository, 'archive', '--format=tar', sha], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (!child.stdout || !child.stderr) throw new AppError('INTERNAL', 'git archive started without pipes')
  const said: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk))

  // The end of the output is the end of the archive only when git says so with its exit code: a torn archive must never be stored.
  const whole = new Transform({
    transform: (chunk, _encoding, done) => done(null, chunk),
    flush: (done) =>
      void exitOf(child).then((code) =>
        done(
          code === 0 ? null : new AppError('INTERNAL', `git archive failed: ${Buffer.concat(said).toString().trim()}`),
        ),
      ),
  })
  // With a checksum: a source has no digest anywhere else, and must not be built from bytes that were damaged on the way.
  const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 }
  const compressed = createZstdCompress({ params })
  // An error travels down to the store, which reports it.
  const source = pipeline(child.stdout, whole, compressed, () => undefined)
  try {
    await store.put(key, source)
  } finally {
    source.destroy()
    await endGroup(child)
  }
  return key
}
