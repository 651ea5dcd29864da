import { closeSync, lstatSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../registry/errors.ts'
import { directoryFlags, namesInside, openInside, placeOf, readInside } from '../inside.ts'

/** What a scan may ask of an app's folder as its build has left it. Paths are relative to the app, `/`-separated. */
export interface RouteFiles {
  /** The text of a file, its first megabyte or `most` bytes of it; null: there is none, or too much has been read already. */
  read(path: string, most?: number): string | null
  /** The files below a folder, by paths relative to it, in the order of their names; none when there is no such folder. */
  list(folder: string): string[]
  names(folder: string): string[]
  /** What was passed over, a sentence each. */
  readonly notes: ReadonlySet<string>
}

const mostFiles = 50_000
const mostBytes = 256 * 1_048_576
const deepest = 40

/**
 * The folder `base` below `root`, which is the platform's. As the walk over what is published does it, no step follows a symlink; but what has no
 * place in a bundle is passed over here, for a route less is no reason to end a build.
 */
export function filesLeft(root: string, base: string): RouteFiles {
  const notes = new Set<string>()
  let filesLeft = mostFiles
  let bytesLeft = mostBytes
  return {
    notes,
    names: (folder) => namesInside(root, join(base, folder)),
    read(path, most = 1_048_576) {
      if (bytesLeft <= 0) return null
      const text = readInside(root, join(base, path), Math.min(most, bytesLeft))
      bytesLeft -= text?.length ?? 0
      if (bytesLeft <= 0) notes.add('there is more to read than 256 MB: what came after it was not looked at')
      return text
    },
    list(folder) {
      const found: string[] = []
      const descriptor = openOrNull(() => openInside(root, join(base, folder), directoryFlags))
      if (descriptor === null) return found
      try {
        collect(placeOf(descriptor, join(root, base, folder)), '', 0)
      } finally {
        closeSync(descriptor)
      }
      return found

      function collect(at: string, path: string, depth: number): void {
        for (const name of readdirSync(at).sort()) {
          if (filesLeft <= 0) return
          filesLeft--
          const below = path ? `${path}/${name}` : name
          const kind = kindOf(`${at}/${name}`, name)
          if (kind === 'odd' || depth > deepest) notes.add(`passed over: ${shown(join(folder, below))}`)
          else if (kind === 'file') found.push(below)
          else if (name !== 'node_modules') enter(at, name, below, depth)
        }
        if (filesLeft <= 0) notes.add(`there are more than ${mostFiles} files: the rest was not looked at`)
      }

      function enter(at: string, name: string, below: string, depth: number): void {
        const inner = openOrNull(() => openSync(`${at}/${name}`, directoryFlags))
        if (inner === null) return
        try {
          collect(placeOf(inner, `${at}/${name}`), below, depth + 1)
        } finally {
          closeSync(inner)
        }
      }
    },
  }
}

/** Files held in memory. */
export function filesOf(files: Record<string, string>): RouteFiles {
  const paths = Object.keys(files).sort()
  const below = (folder: string) => {
    const prefix = folder === '' ? '' : `${folder}/`
    return paths.filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length))
  }
  return {
    notes: new Set(),
    read: (path) => (Object.hasOwn(files, path) ? (files[path] ?? null) : null),
    list: below,
    names: (folder) => [...new Set(below(folder).map((path) => path.split('/', 1)[0] ?? ''))],
  }
}

/** A name as it may stand in a line of the log. */
export function shown(path: string): string {
  const written = JSON.stringify(path).slice(1, -1)
  return written.length > 100 ? `${written.slice(0, 100)}…` : written
}

function kindOf(at: string, name: string): 'file' | 'directory' | 'odd' {
  if (/[\u0000-\u001f\u007f\\\ufffd]/.test(name)) return 'odd'
  const stats = lstatSync(at, { throwIfNoEntry: false })
  if (stats?.isDirectory()) return 'directory'
  return stats?.isFile() ? 'file' : 'odd'
}

function openOrNull(open: () => number): number | null {
  try {
    return open()
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES'].includes(codeOf(thrown) ?? '')) return null
    throw thrown
  }
}
