import { link, mkdir, readdir, readlink, symlink } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Makes the same tree in `to` (which is there): directories anew, files as hard links, symbolic links as they are. What is there already stays. When it
 * ends, be it with an error, nothing more is made.
 */
export async function linkTree(from: string, to: string): Promise<void> {
  const entries = await readdir(from, { withFileTypes: true })
  const made = await Promise.allSettled(
    entries.map(async (entry) => {
      const [source, target] = [join(from, entry.name), join(to, entry.name)]
      if (entry.isDirectory()) {
        await mkdir(target, { recursive: true, mode: 0o755 })
        await linkTree(source, target)
      } else if (entry.isSymbolicLink()) {
        await symlink(await readlink(source), target)
      } else {
        await link(source, target)
      }
    }),
  )
  const failed = made.find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
}
