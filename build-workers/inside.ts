import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../registry/errors.ts'

// Files and folders below a folder of the platform's in which a build has had its way.

export const fileFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
export const directoryFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_DIRECTORY

/** The text of a file that a build has written, of at most `most` bytes; null: there is no such file. */
export function readInside(root: string, path: string, most = 1_048_576): string | null {
  return readPart(root, path, (size) => ({ at: 0, length: Math.min(size, most) }))
}

function readPart(root: string, path: string, choose: (size: number) => { at: number; length: number }): string | null {
  try {
    const descriptor = openInside(root, path, fileFlags)
    try {
      const stats = fstatSync(descriptor)
      if (!stats.isFile()) return null
      const { at, length } = choose(stats.size)
      const text = Buffer.alloc(length)
      return text.toString('utf8', 0, readSync(descriptor, text, 0, length, at))
    } finally {
      closeSync(descriptor)
    }
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(thrown) ?? '')) return null
    throw thrown
  }
}

/** The last bytes of a file that a build has written, as text; null: there is no such file. */
export function readEndInside(root: string, path: string, most: number): string | null {
  return readPart(root, path, (size) => ({ at: Math.max(0, size - most), length: Math.min(size, most) }))
}

/** A descriptor of a file that a build has written, to be closed by the caller. */
export function openFileInside(root: string, path: string): number {
  return openInside(root, path, fileFlags)
}

/** Whether a build has written this folder (not a symlink to one). */
export function isFolderInside(root: string, path: string): boolean {
  try {
    closeSync(openInside(root, path, directoryFlags))
    return true
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(thrown) ?? '')) return false
    throw thrown
  }
}

/** The names in a folder that a build has written; none when there is no such folder. */
export function namesInside(root: string, path: string): string[] {
  try {
    const descriptor = openInside(root, path, directoryFlags)
    try {
      return readdirSync(placeOf(descriptor, join(root, path)))
    } finally {
      closeSync(descriptor)
    }
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(thrown) ?? '')) return []
    throw thrown
  }
}

// The root is the platform's; every step below it is opened by itself and may not be a symlink.
export function openInside(root: string, path: string, flags: number): number {
  const names = path.split('/').filter(Boolean)
  let descriptor = openSync(root, names.length > 0 ? directoryFlags : flags)
  let at = root
  for (const [index, name] of names.entries()) {
    const place = placeOf(descriptor, at)
    at = join(at, name)
    try {
      const next = openSync(`${place}/${name}`, index === names.length - 1 ? flags : directoryFlags)
      closeSync(descriptor)
      descriptor = next
    } catch (thrown) {
      closeSync(descriptor)
      throw thrown
    }
  }
  return descriptor
}

// On Linux a descriptor is a path of its own; elsewhere the plain path has to do.
export function placeOf(descriptor: number, path: string): string {
  return process.platform === 'linux' ? `/proc/self/fd/${descriptor}` : path
}
