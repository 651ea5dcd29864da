import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { AppError } from '../registry/errors.ts'
import type { SourceTree } from './source-tree.ts'

/** What a commit names and does not hold. */
export type MissingFiles = {
  /** Paths of submodules: empty folders. */
  submodules: string[]
  /** Paths of files that Git LFS keeps elsewhere, with the digests of the pointers in their place. */
  pointers: Map<string, string>
}

// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: a pointer is shorter than 1024 bytes and begins with its version.
const longestPointer = 1024
const pointerStart = 'version https://git-lfs.github.com/spec/'

/** Looks for submodules, and for pointers where a .gitattributes says that there may be some. */
export function findMissingFiles(tree: SourceTree): MissingFiles {
  return { submodules: findSubmodules(tree), pointers: findPointers(tree) }
}

/** A line of the log for each kind. */
export function describeMissing({ submodules, pointers }: MissingFiles): string[] {
  const lines = []
  if (submodules.length > 0)
    lines.push(
      `warning: ${listed(submodules)} ${submodules.length > 1 ? 'are submodules' : 'is a submodule'}, which are not fetched: the folder is empty here; commit its files themselves, install it as a package, or deploy from a full checkout with atelier deploy`,
    )
  if (pointers.size > 0)
    lines.push(
      `warning: ${listed([...pointers.keys()])} ${pointers.size > 1 ? 'are pointers' : 'is a pointer'} of Git LFS, which is not supported: the content is not here; put it into git itself (git lfs untrack "<pattern>", git add --renormalize .), or deploy from a full checkout with atelier deploy`,
    )
  return lines
}

/** The same failure, with what may be the reason. */
export function withMissing(thrown: unknown, missing: MissingFiles): unknown {
  const lines = describeMissing(missing)
  if (lines.length === 0 || !(thrown instanceof AppError) || thrown.fault !== 'user') return thrown
  return new AppError(thrown.code, [thrown.message, ...lines].join('\n'), { cause: thrown.cause })
}

/** Throws OUTPUT_INVALID when a pointer would be served in place of its file. */
export function refusePointers(pages: { path: string; sha256: string }[], { pointers }: MissingFiles): void {
  const digests = new Set(pointers.values())
  const page = digests.size > 0 && pages.find(({ sha256 }) => digests.has(sha256))
  if (page)
    throw new AppError(
      'OUTPUT_INVALID',
      `${page.path} is a pointer of Git LFS, not the file itself; it cannot be published`,
    )
}

function findSubmodules(tree: SourceTree): string[] {
  const written = tree.read('.gitmodules') ?? ''
  const paths = [...written.matchAll(/^\s*path\s*=\s*(.+?)\s*$/gm)].map(([, path = '']) =>
    path.replace(/^"(.*)"$/, '$1'),
  )
  const files = [...tree.paths()]
  // A folder that was uploaded holds what its submodules hold.
  return [...new Set(paths)].filter((path) => !files.some((file) => file.startsWith(`${path}/`)))
}

function findPointers(tree: SourceTree): Map<string, string> {
  const files = [...tree.paths()]
  const attributes = files.filter((path) => posix.basename(path) === '.gitattributes')
  const pointers = new Map<string, string>()
  if (!attributes.some((path) => /\bfilter=lfs\b/.test(tree.read(path) ?? ''))) return pointers
  for (const path of files) {
    const bytes = tree.readShort(path, longestPointer)
    if (bytes?.toString('latin1', 0, pointerStart.length) === pointerStart)
      pointers.set(path, createHash('sha256').update(bytes).digest('hex'))
  }
  return pointers
}

function listed(paths: string[]): string {
  const more = paths.length - 5
  return `${paths.slice(0, 5).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
