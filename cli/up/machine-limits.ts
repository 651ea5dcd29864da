import { existsSync, readFileSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { AppError } from '../../registry/errors.ts'

/** With fewer, Postgres does not start, and an app's visitors take what the rest needs. */
export const fewestOpenFiles = 256
/** What a new database takes, and something to work with. */
export const leastNewHomeMb = 100

/** The most files this process and those it starts may have open each; null where the system does not say. */
export function openFileLimit(): number | null {
  const hard = existsSync('/proc/self/limits') && readFileSync('/proc/self/limits', 'latin1')
  const found = hard ? /^Max open files\s+\S+\s+(\d+)/m.exec(hard)?.[1] : undefined
  return found === undefined ? null : Number(found)
}

export type Space = { freeMb: number; usedShare: number; freeInodes: number | null; usedInodeShare: number }

/** Of the file system that holds the path, or will when it is made; as far as this user may fill it. */
export function spaceFor(path: string): Space {
  if (!existsSync(path)) return spaceFor(dirname(path))
  const { bavail, bfree, blocks, bsize, files, ffree } = statfsSync(path)
  const used = blocks - bfree
  return {
    freeMb: Math.floor((bavail * bsize) / 1_048_576),
    usedShare: used + bavail > 0 ? used / (used + bavail) : 0,
    // Some file systems (btrfs) count none.
    freeInodes: files > 0 ? ffree : null,
    usedInodeShare: files > 0 ? 1 - ffree / files : 0,
  }
}

/** Throws HOME_UNUSABLE, with the way out, where the platform would start and fail later. */
export function refusePoorMachine({ path, isNew }: { path: string; isNew: boolean }): void {
  const files = openFileLimit()
  if (files !== null && files < fewestOpenFiles) throw new AppError('HOME_UNUSABLE', tooFewFiles(files))
  const { freeMb } = spaceFor(path)
  // One that has its database serves what is live also on a full disk.
  if (isNew && freeMb < leastNewHomeMb)
    throw new AppError(
      'HOME_UNUSABLE',
      `the disk of the home ${path} has ${freeMb} MB left and the database alone takes ${leastNewHomeMb}; free some space, or choose another directory with ATELIER_HOME`,
    )
}

export function tooFewFiles(files: number): string {
  return `a process may have ${files} files open here, which is too few for a server; raise it with: ulimit -n 65536 (a service of systemd: LimitNOFILE=65536)`
}
