import { readdir } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { Failure } from './failure.ts'
import { git } from './git.ts'

/** Never sent: git's own files, what an install makes again, and secrets of this machine. */
const leftOut = /^(\.git|node_modules|\.DS_Store|\.env\.local|\.env\..+\.local)$/

/**
 * A folder as .tar.gz. In a git repository: what git tracks or would add; a folder that git itself ignores (a build's output) is sent
 * whole. Throws when there is nothing in it.
 */
export async function packFolder(folder: string): Promise<Readable> {
  return packFiles(folder, await listFolder(folder))
}

/** The paths of what of a folder is sent, with forward slashes. */
export async function listFolder(folder: string): Promise<string[]> {
  return (await listByGit(folder)) ?? (await listWhole(folder))
}

/** These files of a folder as .tar.gz. Throws when there are none. */
export async function packFiles(folder: string, names: string[]): Promise<Readable> {
  if (names.length === 0) throw new Failure(`there is nothing to deploy in ${folder}`)
  const { create } = await import('tar')
  // tar takes a name with a leading @ for an archive to include.
  const packing = create(
    { cwd: folder, gzip: true, portable: true },
    // In one order, so that the server knows the same files again.
    names.sort().map((name) => `./${name}`),
  )
  const body = new PassThrough()
  packing.on('error', (error) => body.destroy(new Failure(`${folder} cannot be read: ${error}`)))
  packing.pipe(body)
  return body
}

async function listByGit(folder: string): Promise<string[] | null> {
  try {
    const { code } = await git(['check-ignore', '--quiet', '.'], { cwd: folder })
    if (code !== 1) return null
    const { stdout } = await git(['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'], {
      cwd: folder,
    })
    const deleted = await git(['ls-files', '-z', '--deleted'], { cwd: folder })
    const gone = new Set(deleted.stdout.split('\0'))
    const names = stdout.split('\0').filter((name) => name && !gone.has(name) && !name.split('/').some(isLeftOut))
    return names.length > 0 ? names : null
  } catch (thrown) {
    if (thrown instanceof Failure && thrown.code === 'NO_GIT') return null
    throw thrown
  }
}

async function listWhole(folder: string): Promise<string[]> {
  const names: string[] = []
  const visit = async (directory: string) => {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name)
      if (isLeftOut(entry.name)) continue
      if (entry.isDirectory()) await visit(path)
      else if (entry.isFile() || entry.isSymbolicLink()) names.push(relative(folder, path).split(sep).join('/'))
    }
  }
  await visit(folder)
  return names
}

function isLeftOut(name: string): boolean {
  return leftOut.test(name)
}
