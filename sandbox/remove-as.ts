import { lstatSync } from 'node:fs'
import { launch } from './launch.ts'
import type { SandboxUser } from './users.ts'

/**
 * Empties folders that a program's user has filled, as that user: no folder that a left-over process swaps for a symlink in mid-removal can lead to
 * anything that user could not remove by itself. The folders themselves stay. `within` is the platform's folder that they lie in.
 */
export async function removeAs(user: SandboxUser, folders: string[], within: string): Promise<void> {
  const paths = folders.filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory())
  if (paths.length === 0) return
  const run = async (file: string, args: string[]) => {
    const launched = await launch({
      name: 'remove what a program left',
      file,
      args,
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      user,
      writable: [within],
      limits: { timeoutMs: 120_000 },
    })
    return (await launched.exited).code
  }
  const empty = () => run('/usr/bin/find', [...paths, '-mindepth', '1', '-delete'])
  if ((await empty()) === 0) return
  // Some tools leave folders that not even their owner may write to.
  await run('/bin/chmod', ['-R', 'u+rwX', '--', ...paths])
  if ((await empty()) !== 0) await run('/bin/rm', ['-rf', '--', ...paths])
}
