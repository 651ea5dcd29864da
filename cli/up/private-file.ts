import { readFile, rename, writeFile } from 'node:fs/promises'
import { AppError, codeOf, messageOf } from '../../registry/errors.ts'

/** Writes a file only its owner may read (0600); whoever reads sees the old content or the new, never half. */
export async function writePrivately(path: string, content: string): Promise<void> {
  const temporary = `${path}.${process.pid}.new`
  await writeFile(temporary, content, { mode: 0o600, flush: true })
  await rename(temporary, path)
}

/** The content, or null when there is no such file. Throws HOME_UNUSABLE when it is there and cannot be read. */
export async function readPrivately(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return null
    throw new AppError('HOME_UNUSABLE', `${path} cannot be read (${messageOf(cause)})`, { cause })
  }
}
