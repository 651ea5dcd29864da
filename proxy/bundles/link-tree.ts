import { link, mkdir, readdir, readlink, symlink } from 'node:fs/promises'
import { join } from 'node:path'

/** Makes the same tree in `to` (which is there): directories anew, files as hard links, symbolic links as they are. What is there already stays. */
export async function linkTree(from: string, to: string): Promise<void> {
  const entries = await readdir(from, { withFileTypes: true })
  await Promise.all(
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
}
