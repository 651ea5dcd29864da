import { readSync } from 'node:fs'
import { Header, Pax } from 'tar'
import { HardLinks, readWalked, unfit, type Walked, type WalkedFile } from './walk.ts'

const blockBytes = 512
const batchBytes = 262_144
const wholeFileBytes = 1_048_576

/** Where the same bytes in give the same archive out: owner 0, time 0, modes 0644 and 0755. */
const constant = { uid: 0, gid: 0, mtime: new Date(0), uname: '', gname: '' }

export type ArchiveOptions = {
  /** False where files are known to be hard links of a cache. */
  checkHardLinks?: boolean
}

/**
 * The walked entries as tar, in large chunks, without the end marker: archives that are read until their end may be concatenated.
 * The files of the walk are read as they come, so the memory needed is one chunk.
 */
export async function* archive(
  entries: Iterable<Walked>,
  { checkHardLinks = true }: ArchiveOptions = {},
): AsyncGenerator<Buffer> {
  const links = new HardLinks()
  let batch: Buffer[] = []
  let size = 0
  for (const entry of entries) {
    if (entry.kind === 'file' && checkHardLinks) links.see(entry)
    for (const chunk of entryChunks(entry)) {
      batch.push(chunk)
      size += chunk.length
      if (size < batchBytes) continue
      yield Buffer.concat(batch)
      batch = []
      size = 0
    }
  }
  links.check()
  if (size > 0) yield Buffer.concat(batch)
}

/** What ends a tar archive. */
export const endOfArchive = Buffer.alloc(2 * blockBytes)

/** A single file as an archive's entry. */
export function archivedFile(path: string, content: Buffer): Buffer {
  return Buffer.concat([
    ...header({ path, type: 'File', mode: 0o644, size: content.length }),
    content,
    padding(content.length),
  ])
}

function* entryChunks(entry: Walked): Generator<Buffer> {
  const { path, kind } = entry
  if (kind === 'directory') return yield* header({ path: `${path}/`, type: 'Directory', mode: 0o755, size: 0 })
  if (kind === 'symlink')
    return yield* header({ path, type: 'SymbolicLink', linkpath: entry.target, mode: 0o777, size: 0 })

  yield* header({ path, type: 'File', mode: entry.isExecutable ? 0o755 : 0o644, size: entry.size })
  if (entry.size <= wholeFileBytes) yield readWalked(entry)
  else yield* readInParts(entry)
  yield padding(entry.size)
}

function* readInParts(file: WalkedFile): Generator<Buffer> {
  for (let at = 0; at < file.size; ) {
    const part = Buffer.allocUnsafe(Math.min(wholeFileBytes, file.size - at))
    const read = readSync(file.descriptor, part, 0, part.length, at)
    if (read === 0) throw unfit(file.path, 'changed while it was read')
    yield part.subarray(0, read)
    at += read
  }
}

type HeaderFields = {
  path: string
  type: 'File' | 'Directory' | 'SymbolicLink'
  mode: number
  size: number
  linkpath?: string
}

// A path, link or size that the plain header cannot hold is said in a PAX header before it.
function header(fields: HeaderFields): Buffer[] {
  const plain = new Header({ ...fields, ...constant })
  const needsPax = plain.encode()
  const block = plain.block ?? Buffer.alloc(blockBytes)
  if (!needsPax) return [block]
  const { path, linkpath, size } = fields
  return [new Pax({ path, ...(linkpath === undefined ? {} : { linkpath }), size }).encode(), block]
}

function padding(size: number): Buffer {
  return endOfArchive.subarray(0, (blockBytes - (size % blockBytes)) % blockBytes)
}
