import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './command.ts'

/**
 * Copies parts of a checkout into a folder, by hard links where one file system holds both: half a gigabyte in a second. Caches stay behind: other
 * tests write them meanwhile, and a copy fails when a file is gone before it comes to it.
 */
export async function copyCheckout(from: string, parts: string[], to: string): Promise<void> {
  const own = parts.filter((name) => name !== 'node_modules')
  await copy(
    own.map((name) => join(from, name)),
    to,
  )
  if (own.length === parts.length) return
  const modules = (await readdir(join(from, 'node_modules'))).filter((name) => !/^\.(cache|vite)/.test(name))
  await mkdir(join(to, 'node_modules'))
  await copy(
    modules.map((name) => join(from, 'node_modules', name)),
    join(to, 'node_modules'),
  )
}

async function copy(paths: string[], to: string): Promise<void> {
  const cp = (...options: string[]) => run('cp', [...options, ...paths, to], { env: process.env })
  if ((await cp('-al')).code === 0) return
  const { code, stderr } = await cp('-a', '--remove-destination')
  if (code !== 0) throw new Error(stderr)
}
