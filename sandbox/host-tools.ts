import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../registry/errors.ts'

const tools = new Map<string, string>()

/** Where a program of the system is, or null; what was found once is remembered. PATH is not asked: it may be anybody's. */
export function hostTool(name: string): string | null {
  const known = tools.get(name)
  if (known !== undefined) return known
  const path = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].map((folder) => join(folder, name)).find(isExecutable) ?? null
  if (path) tools.set(name, path)
  return path
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'EACCES') return false
    throw thrown
  }
}
