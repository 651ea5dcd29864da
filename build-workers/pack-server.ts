import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, zstdCompressSync } from 'node:zlib'
import { AppError } from '../registry/errors.ts'
import { zstdChunkBytes } from '../registry/zstd.ts'
import { archive, archivedFile, endOfArchive } from './archive.ts'
import type { ServerOutput } from './build-context.ts'
import type { ModulesArchive } from './dependency-cache.ts'
import { walk } from './walk.ts'

export type PackedServer = {
  path: string
  entry: string | null
  start: ServerOutput['start']
  sha256: string
  size: number
  /** Length of the first frame, which holds the app's own files; the next one is `modules`. */
  ownSize: number
  modules: ModulesArchive | null
  /** Where the dependencies' frame lies in the file, and its digest. */
  modulesFrame: { offset: number; size: number; sha256: string } | null
}

const compression = { chunkSize: zstdChunkBytes, params: { [constants.ZSTD_c_compressionLevel]: 3 } }

/**
 * Writes `server.tar.zst`: the app's files in one zstd frame, its node_modules in another (made once and taken from the cache as it is), and
 * the end of the archive. Frames after one another are one stream, and the same files give the same bytes. Throws OUTPUT_INVALID.
 */
export async function packServer(
  output: ServerOutput,
  path: string,
  { uid }: { uid: number | null },
): Promise<PackedServer> {
  const { entry, start, modules } = output
  const hash = createHash('sha256')
  let size = 0
  let ownSize = 0
  let modulesFrame: PackedServer['modulesFrame'] = null
  const count = (chunk: Buffer) => {
    hash.update(chunk)
    size += chunk.length
    return chunk
  }
  await pipeline(
    async function* () {
      for await (const chunk of compressed(appEntries(output, uid))) yield count(chunk)
      ownSize = size
      if (modules) {
        const frameHash = createHash('sha256')
        for await (const chunk of createReadStream(modules.frame)) {
          frameHash.update(chunk)
          yield count(chunk)
        }
        const sha256 = frameHash.digest('hex')
        if (sha256 !== modules.sha256) {
          await modules.discard()
          throw new AppError(
            'INTERNAL',
            'the dependencies that were kept for the bundle were damaged and are thrown away',
          )
        }
        modulesFrame = { offset: ownSize, size: size - ownSize, sha256 }
      }
      yield count(zstdCompressSync(endOfArchive, compression))
    },
    createWriteStream(path, { flags: 'wx', mode: 0o600 }),
  )
  return { path, entry, start, sha256: hash.digest('hex'), size, ownSize, modules, modulesFrame }
}

async function* appEntries({ parts, files }: ServerOutput, uid: number | null): AsyncGenerator<Buffer> {
  for (const { root, from, below, skip } of parts) {
    const replaced = new Set(files.map((file) => file.path))
    const entries = walk(root, { from, below, skip: (path) => replaced.has(path) || skip(path), uid })
    yield* archive(entries)
  }
  for (const { path, content } of files) yield archivedFile(path, content)
}

async function* compressed(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const zstd = createZstdCompress(compression)
  const feeding = pipeline(chunks, zstd)
  // Told to whoever reads: a failing source destroys the stream that is read here.
  feeding.catch(() => undefined)
  for await (const chunk of zstd) yield chunk
  await feeding
}
