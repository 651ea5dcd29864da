import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { checkout } from './platform.ts'
import type { Files } from './repo.ts'

/** The files of one of `examples/`, by path. */
export async function example(name: string): Promise<Files> {
  const root = join(checkout, 'examples', name)
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith('node_modules/') && !path.startsWith('dist/'))
  return Object.fromEntries(
    await Promise.all(paths.map(async (path) => [path, await readFile(join(root, path))] as const)),
  )
}
