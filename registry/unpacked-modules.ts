import { mkdir, readdir, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf } from './errors.ts'

/**
 * The dependencies of a bundle, as a build worker has unpacked them from the frame with this digest to prove the bundle: a proxy with the same home
 * links them instead of unpacking the frame once more. They are an app's own, the platform's to write, and may be gone at any time: in one step, by
 * losing their name.
 */
export function unpackedModulesPath(home: string, app: string, sha256: string): string {
  return join(folderOf(home, app), sha256)
}

/** Says where they are: `tree`, whole. */
export async function offerModules(
  home: string,
  app: string,
  { sha256, tree }: { sha256: string; tree: string },
): Promise<void> {
  await mkdir(folderOf(home, app), { recursive: true, mode: 0o711 })
  const path = unpackedModulesPath(home, app, sha256)
  await rm(path, { force: true })
  await symlink(tree, path).catch((thrown: unknown) => {
    // Another build of the same dependencies has said it a moment ago.
    if (codeOf(thrown) !== 'EEXIST') throw thrown
  })
}

/** Forgets those that are gone. */
export async function forgetLostModules(home: string, app: string): Promise<void> {
  const folder = folderOf(home, app)
  for (const name of await readdir(folder).catch(ifMissing([])))
    if (!(await stat(join(folder, name)).catch(ifMissing(null)))) await rm(join(folder, name), { force: true })
}

function folderOf(home: string, app: string): string {
  return join(home, 'cache', 'apps', app, 'unpacked')
}

function ifMissing<Value>(value: Value): (thrown: unknown) => Value {
  return (thrown) => {
    if (codeOf(thrown) === 'ENOENT') return value
    throw thrown
  }
}
