import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { SourceTree } from './source-tree.ts'

const maxReadBytes = 64 * 1_048_576

/** A tree as it was unpacked to disk, before anything of the app's has run. */
export function unpackedTree(
  root: string,
  { files, directories, links }: { files: Set<string>; directories: Set<string>; links: [string, string][] },
): SourceTree {
  return {
    hasFile: (path) => files.has(path),
    hasDirectory: (path) => directories.has(path),
    read: (path) => (files.has(path) ? (readFile(join(root, path))?.toString('utf8') ?? null) : null),
    readBytes: (path) => (files.has(path) ? readFile(join(root, path)) : null),
    readShort: (path, most) => (files.has(path) ? readFile(join(root, path), most) : null),
    paths: () => files,
    links: () => links,
  }
}

function readFile(path: string, most = maxReadBytes): Buffer | null {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const { size } = fstatSync(descriptor)
    if (size > most) return null
    const bytes = Buffer.alloc(size)
    return bytes.subarray(0, readSync(descriptor, bytes))
  } finally {
    closeSync(descriptor)
  }
}
