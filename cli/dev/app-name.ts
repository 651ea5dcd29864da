import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'

/** What an app is called that nobody has named: after its package, else its folder. */
export async function appNameOf(folder: string): Promise<string> {
  return slugOf((await packageName(folder)) ?? '') ?? slugOf(basename(folder)) ?? 'app'
}

/** The platform's rule for names; null when nothing is left of it. */
export function slugOf(text: string): string | null {
  const slug = text
    .toLowerCase()
    .replace(/^@[^/]*\//, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/-(git|pr)(?=-|$)/g, '')
    .replace(/^[^a-z]+/, '')
    .slice(0, 38)
    .replace(/-+$/, '')
  return slug || null
}

async function packageName(folder: string): Promise<string | null> {
  const pkg = await readPackage(folder)
  return typeof pkg?.name === 'string' ? pkg.name : null
}

export type Package = { name?: unknown; scripts?: unknown }

/** package.json, if there is one that can be read; what is wrong with it the build says better. */
export async function readPackage(folder: string): Promise<Package | null> {
  try {
    const read: unknown = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
    return typeof read === 'object' && read !== null ? read : null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return null
    throw thrown
  }
}
