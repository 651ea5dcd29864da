import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { hostTool } from './host-tools.ts'

const spread = new Set<string>()

/**
 * Has ext4 put what will be made in each folder of this one into a part of the disk of its own (chattr(1), `T`), and not all of it where this folder
 * is. Where thousands of files have just been removed, each new one waits for ext4 to pass over their numbers, which it gives to nobody for
 * minutes: `npm ci` of a Next.js app took 12 to 14 s beside removed builds, and 7 to 8 s apart from them. Other file systems have no such hint, and
 * need none.
 */
export async function spreadFolders(folder: string): Promise<void> {
  if (spread.has(folder)) return
  spread.add(folder)
  const chattr = process.platform === 'linux' ? hostTool('chattr') : null
  if (!chattr) return
  // It is there for speed only: a file system that refuses it is as good.
  await promisify(execFile)(chattr, ['+T', folder], { env: {}, timeout: 5000 }).catch(() => undefined)
}
