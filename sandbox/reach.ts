import { chmod, constants, copyFile, link, lstat, mkdir, readdir, readlink, stat, symlink } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { codeOf } from '../registry/errors.ts'

/** Copies a file or folder so that everybody may read it; by hard links where they can be had, for Node alone is 150 MB. */
export async function copyTree(from: string, to: string): Promise<void> {
  const entry = await lstat(from)
  if (entry.isDirectory()) {
    await mkdir(to, { recursive: true })
    await chmod(to, 0o755)
    await Promise.all((await readdir(from)).map((name) => copyTree(join(from, name), join(to, name))))
  } else if (entry.isSymbolicLink()) {
    await symlink(await readlink(from), to)
  } else if ((entry.mode & 0o004) === 0 || !(await linked(from, to))) {
    await copyFile(from, to, constants.COPYFILE_FICLONE)
    await chmod(to, entry.mode | 0o444)
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (thrown) {
    if (['EXDEV', 'EPERM', 'EMLINK'].includes(codeOf(thrown) ?? '')) return false
    throw thrown
  }
}

/** Whether a file is closed to users other than the platform's own; without other users nothing is. */
export async function isClosed(file: string): Promise<boolean> {
  if (process.getuid?.() !== 0) return false
  return ((await stat(file)).mode & 0o004) === 0 || (await closedAncestor(dirname(file))) !== null
}

/** The first folder on the way to `folder`, itself included, that others may not pass; null when they may pass all. */
export async function closedAncestor(folder: string): Promise<string | null> {
  const names = folder.split(sep).filter(Boolean)
  for (let depth = 0; depth <= names.length; depth++) {
    const ancestor = sep + names.slice(0, depth).join(sep)
    if (((await stat(ancestor)).mode & 0o001) === 0) return ancestor
  }
  return null
}
