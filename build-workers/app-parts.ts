import { posix } from 'node:path'
import type { SourceTree } from './source-tree.ts'

/** What an app in a folder of a repository has to do with the rest of it. Paths are in the repository. */
export type AppParts = {
  /** Folders of packages that the app does not use. */
  unused: string[]
  /** Every name that could be that of a package, as its files have them in quotes. */
  mentioned: Set<string>
}

const mostFiles = 20_000
const longestScanned = 524_288
const isText =
  /\.([cm]?[jt]sx?|json[c5]?|vue|svelte|astro|mdx?|html?|s?css|less|ya?ml|toml|graphql|prisma|sql|sh)$|(^|\/)(Procfile|Makefile)$/
// They name every package there is, whether the app uses it or not.
const isListing =
  /^(package\.json|pnpm-workspace\.yaml|turbo\.jsonc?|nx\.json|lerna\.json|rush\.json|package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|yarn\.lock|bun\.lock|[^/]*\.mdx?|\.[^/]+\/.*)$/
// What is imported, and scoped names anywhere; a plain word in quotes is seldom the package of that name.
const imports =
  /(?:\b(?:from|import|require|resolve|extends)\b["\s:([]*|(?=['"`]@))['"`]((?:@[\w.~-]+\/)?[\w.~-]+)(?:\/[^'"`\s]*)?['"`]/g
const names = /['"`]((?:@[\w.~-]+\/)?[\w.~-]+)(?:\/[^'"`\s]*)?['"`]/g
const paths = /['"`(=\s]([\w@.~-]{1,100}\/[^'"`\s()]{0,300})/g

/**
 * What the app in `root` uses of its repository: everything but other packages (folders with a package.json of their own) that nothing it
 * uses names: no package.json, no other file, neither by import nor by a path, and no symlink. `include`: folders that count in any case. It errs
 * on the side of using: an import in a comment is enough.
 */
export function findAppParts(tree: SourceTree, root: string, include: string[] = []): AppParts {
  if (root === '') return { unused: [], mentioned: new Set() }
  const packages = readPackages(tree)
  const filesOf = groupFiles(tree, packages)
  const mentioned = new Set<string>()
  if (!filesOf) return { unused: [], mentioned }

  const used = new Set<string>()
  const imported = new Set<string>()
  const waiting = ['', ...packages.keys()].filter(
    (folder) => [root, ...include].some((path) => path === '.' || isInOneLine(folder, path)) || folder === '',
  )
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    if (used.has(folder)) continue
    used.add(folder)
    const own = packages.get(folder)
    for (const name of own?.names ?? []) imported.add(name)
    const meant = [...(own?.folders ?? []), ...linksFrom(tree, folder, packages)]
    for (const file of filesOf.get(folder) ?? []) meant.push(...scan(tree, file, { folder, mentioned, imported }))
    waiting.push(...meant.flatMap((path) => packagesAt(path, packages)))
    for (const [other, { name }] of packages)
      if ((name !== null && imported.has(name)) || (folder !== '' && isBelow(other, folder))) waiting.push(other)
  }
  return { unused: [...packages.keys()].filter((folder) => folder !== '' && !used.has(folder)).sort(), mentioned }
}

/** Whether a path is one of the folders, or in one. */
export function isWithin(path: string, folders: string[]): boolean {
  return folders.some((folder) => path === folder || isBelow(path, folder))
}

type Package = { name: string | null; names: string[]; folders: string[] }

function readPackages(tree: SourceTree): Map<string, Package> {
  const packages = new Map<string, Package>()
  for (const path of tree.paths()) {
    if (posix.basename(path) !== 'package.json' || /(^|\/)node_modules\//.test(path)) continue
    const folder = folderOf(path)
    packages.set(folder, readPackage(tree.read(path) ?? '', folder))
  }
  return packages
}

function readPackage(text: string, folder: string): Package {
  const { name, ...rest } = parse(text)
  const kinds = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'] as const
  const all = kinds.flatMap((kind) => Object.entries(Object(rest[kind])))
  const local = all.flatMap(
    ([, range]) => /^(?:file|link|portal|workspace):(\.{1,2}\/.*)$/.exec(String(range))?.[1] ?? [],
  )
  return {
    name: typeof name === 'string' ? name : null,
    names: all.map(([dependency]) => dependency),
    folders: [...local, ...(folder === '' ? placesInScripts(rest['scripts']) : [])].map((path) =>
      posix.join(folder, path),
    ),
  }
}

// Those that an install runs. The top's others are most often there for each of the packages.
function placesInScripts(scripts: unknown): string[] {
  const own = Object.entries(Object(scripts)).filter(([name]) => /^(pre|post)?(install|prepare|prepublish)$/.test(name))
  return own.flatMap(([, script]) => String(script).split(/[\s"'=;&|()]+/)).filter((word) => word.includes('/'))
}

function parse(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text))
  } catch (thrown) {
    // Somebody's fixture; the app's own has been read before.
    if (thrown instanceof SyntaxError) return {}
    throw thrown
  }
}

/** The text files of each package, `''`: those in none; null: more than can be looked through. */
function groupFiles(tree: SourceTree, packages: Map<string, Package>): Map<string, string[]> | null {
  const groups = new Map<string, string[]>()
  let count = 0
  for (const path of tree.paths()) {
    if (!isText.test(path) || isListing.test(path) || /(^|\/)node_modules\//.test(path)) continue
    count += 1
    const folder = ownerOf(path, packages)
    const files = groups.get(folder)
    if (files) files.push(path)
    else groups.set(folder, [path])
  }
  return count > mostFiles ? null : groups
}

type Scanning = { folder: string; mentioned: Set<string>; imported: Set<string> }

/** Adds the names in a file, and returns the places in the repository that its paths may mean. */
function scan(tree: SourceTree, file: string, { folder, mentioned, imported }: Scanning): string[] {
  const text = tree.read(file) ?? ''
  if (text.length > longestScanned) return []
  // What a package.json names it asks for, or lists.
  if (posix.basename(file) !== 'package.json') {
    for (const [, name = ''] of text.matchAll(names)) mentioned.add(name)
    for (const [, name = ''] of text.matchAll(imports)) imported.add(name)
  }
  const found = [...text.matchAll(paths)].map(([, path = '']) => path)
  return found.flatMap((path) => [folderOf(file), folder, ''].map((from) => posix.join(from, path)))
}

function linksFrom(tree: SourceTree, folder: string, packages: Map<string, Package>): string[] {
  return tree
    .links()
    .filter(([path]) => ownerOf(path, packages) === folder)
    .map(([path, target]) => posix.join(folderOf(path), target))
}

// The package that a path lies in, and all that a pattern such as `packages/*/src` takes in.
function packagesAt(path: string, packages: Map<string, Package>): string[] {
  const plain = path.replace(/\/+$/, '')
  const star = plain.search(/[*{]/)
  if (star < 0) return [ownerOf(plain, packages)]
  const above = folderOf(plain.slice(0, star + 1))
  return above === ''
    ? []
    : [ownerOf(above, packages), ...[...packages.keys()].filter((folder) => isBelow(folder, above))]
}

function ownerOf(path: string, packages: Map<string, Package>): string {
  for (let folder = path; folder !== ''; folder = folderOf(folder)) if (packages.has(folder)) return folder
  return ''
}

function isInOneLine(a: string, b: string): boolean {
  return a === b || isBelow(a, b) || isBelow(b, a)
}

function isBelow(path: string, folder: string): boolean {
  return folder === '' ? path !== '' : path.startsWith(`${folder}/`)
}

function folderOf(path: string): string {
  const folder = posix.dirname(path)
  return folder === '.' || folder === '/' || folder === '..' ? '' : folder
}
