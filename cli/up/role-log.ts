import { rename, stat } from 'node:fs/promises'
import { codeOf } from '../../registry/errors.ts'

const maxLogBytes = 10 * 1_048_576

/** Moves a log that has grown large to `<file>.1`, over the one before. */
export async function turnOver(file: string, maxBytes = maxLogBytes): Promise<void> {
  try {
    if ((await stat(file)).size > maxBytes) await rename(file, `${file}.1`)
  } catch (thrown) {
    if (codeOf(thrown) !== 'ENOENT') throw thrown
  }
}
