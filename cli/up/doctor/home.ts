import { accessSync, constants, existsSync, type Stats, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '../../../registry/config.ts'
import { messageOf } from '../../../registry/errors.ts'
import { fewestOpenFiles, leastNewHomeMb, openFileLimit, spaceFor, tooFewFiles } from '../machine-limits.ts'
import { type Check, fail, ok, warn } from './check.ts'

export function checkHome({ home }: Config): Check {
  if (!existsSync(home)) {
    const parent = nearest(home)
    if (mayWrite(parent)) return ok('home', `${home} is not there yet; the first start makes it`)
    return fail(
      'home',
      `${home} is not there, and this user may not make it in ${parent}`,
      'choose another with ATELIER_HOME',
    )
  }
  const found = statSync(home)
  if (!found.isDirectory()) return fail('home', `${home} is not a folder`, 'choose another with ATELIER_HOME')
  if (!mayWrite(home))
    return fail(
      'home',
      `${home} belongs to user ${found.uid} and this one may not write there`,
      'run this as the user who starts Atelier',
    )
  if ((found.mode & 0o022) !== 0)
    return fail('home', `${home} may be written to by others (mode ${octal(found)})`, `chmod go-w ${home}`)
  const open = ['secrets', 'store', 'git', 'log'].map((name) => join(home, name)).filter(isOpenToOthers)
  if (open.length > 0) return fail('home', `${open.join(', ')} may be entered by others`, `chmod 700 ${open.join(' ')}`)
  return ok('home', `${home}, mode ${octal(found)}`)
}

/** Files that would give the platform away: the key that opens every secret, and the admin's token. */
export function checkSecrets({ home, key }: Config): Check[] {
  const ownKey = key === null ? checkSecret('key', join(home, 'secrets/key')) : checkGivenKey(key)
  return [ownKey, checkSecret('admin token', join(home, 'admin-token'))]
}

function checkGivenKey(key: string): Check {
  const keys = key.split(/[\s,]+/).filter(Boolean)
  if (keys.length > 0 && keys.every((one) => Buffer.from(one, 'base64').length === 32))
    return ok('key', 'set by ATELIER_KEY')
  return fail('key', 'ATELIER_KEY is not 32 bytes in base64', 'make one with: openssl rand -base64 32')
}

function checkSecret(name: string, path: string): Check {
  try {
    const found = statSync(path, { throwIfNoEntry: false })
    if (!found) return ok(name, 'not there yet; the first start makes it')
    if ((found.mode & 0o077) !== 0)
      return fail(name, `${path} is open to others (mode ${octal(found)})`, `chmod 600 ${path}`)
    return ok(name, `${path}, mode ${octal(found)}`)
  } catch (thrown) {
    return warn(name, `it cannot be looked at (${messageOf(thrown)})`, 'run this as the user who starts Atelier')
  }
}

export function checkDisk({ home }: Config): Check {
  const { freeMb, usedShare, freeInodes, usedInodeShare } = spaceFor(home)
  const what = `${shown(freeMb)} free for ${home} (${percent(usedShare)} used)`
  const next = 'free some space, or choose another disk with ATELIER_HOME'
  if (freeMb < leastNewHomeMb) return fail('disk', what, next)
  if (freeInodes !== null && freeInodes < 10_000)
    return fail('disk', `${what}, and only ${freeInodes} files can be made there`, next)
  if (freeMb < 2048 || usedShare > 0.85 || usedInodeShare > 0.85) return warn('disk', what, next)
  return ok('disk', what)
}

export function checkOpenFiles(files = openFileLimit()): Check {
  if (files === null) return ok('open files', 'this system does not say how many there may be')
  if (files < fewestOpenFiles) return fail('open files', tooFewFiles(files).split(';')[0] ?? '', 'ulimit -n 65536')
  const what = `${files} for each process`
  if (files >= 4096) return ok('open files', what)
  return warn(
    'open files',
    `${what}: every visitor takes one`,
    'ulimit -n 65536 (a service of systemd: LimitNOFILE=65536)',
  )
}

function isOpenToOthers(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false })
  return found !== undefined && (found.mode & 0o077) !== 0
}

function nearest(path: string): string {
  return existsSync(path) ? path : nearest(dirname(path))
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

function octal({ mode }: Stats): string {
  return (mode & 0o777).toString(8)
}

function shown(megabytes: number): string {
  return megabytes >= 10_240 ? `${Math.floor(megabytes / 1024)} GB` : `${megabytes} MB`
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
