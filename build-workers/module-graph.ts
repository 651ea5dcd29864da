import { posix } from 'node:path'
import { isWithin } from './app-parts.ts'
import type { ModuleIndex } from './module-tree.ts'

/** Who asks for what of the installed dependencies. Paths are relative to where they were installed. */
export type Wanted = {
  /** Folders of the app, of the packages it uses, and `''`, with the names of what their package.json asks for. */
  folders: Map<string, string[]>
  /** Folders of packages that are not used, and not there. */
  unused: string[]
  /** Names that the app's files have in quotes: what it finds without having asked for it. */
  mentioned: Set<string>
}

type Tree = { index: ModuleIndex; readPackage: (folder: string) => string[] }

/**
 * The folders of installed packages that the app can reach, found as Node finds them: from each package.json what it asks for, in the
 * node_modules nearest above it. The same index, package files and names give the same folders.
 */
export function reachablePackages({ folders, unused, mentioned }: Wanted, { index, readPackage }: Tree): Set<string> {
  const places = new Set(index.directories)
  const links = new Map(index.links)
  const reached = new Set<string>()
  const waiting = [...folders].flatMap(([folder, names]) => [...names, ...mentioned].map((name) => ({ folder, name })))
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const place = find(next.folder, next.name, { places, links })
    if (place === null || reached.has(place) || isWithin(place, unused)) continue
    reached.add(place)
    for (const name of readPackage(place)) waiting.push({ folder: place, name })
  }
  return reached
}

/**
 * What of the installed tree is left out when only these packages are kept: whole packages, and links that would lead nowhere. A package keeps
 * all that lies in its folder, its own node_modules too.
 */
export function leftOut(reached: Set<string>, { unused }: Wanted, { links }: ModuleIndex): (path: string) => boolean {
  const targets = new Map(links.map(([path, target]) => [path, resolveLink(path, target)]))
  const isKept = (path: string): boolean => {
    const folders = packageFolders(path)
    return folders.length === 0 || folders.some((folder) => reached.has(folder))
  }
  // Above a package that is kept: `.pnpm/x@1.0.0`, `.pnpm/x@1.0.0/node_modules/@scope`.
  const above = new Set([...reached].flatMap(foldersAbove))
  return (path) => {
    const target = targets.get(path)
    if (target !== undefined) return isWithin(target, unused) || !isKept(target)
    if (above.has(path)) return false
    return isStore(path) || !isKept(path)
  }
}

const packageName = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/@.][^/]*)(?=\/|$)/g

// The folders of the packages that a path lies in, the outermost first.
function packageFolders(path: string): string[] {
  return [...path.matchAll(packageName)].map((match) => path.slice(0, match.index + match[0].length))
}

// The folder of one package in pnpm's or bun's store: what is kept of it lies deeper.
function isStore(path: string): boolean {
  return /(^|\/)node_modules\/\.(pnpm|bun)\/(?!node_modules$)[^/]+$/.test(path) && !path.endsWith('/lock.yaml')
}

function foldersAbove(path: string): string[] {
  const above = []
  for (let folder = posix.dirname(path); folder !== '.'; folder = posix.dirname(folder)) above.push(folder)
  return above
}

function find(from: string, name: string, at: { places: Set<string>; links: Map<string, string> }): string | null {
  for (let folder = from; ; folder = parentOf(folder)) {
    if (posix.basename(folder) !== 'node_modules') {
      const path = posix.join(folder, 'node_modules', name)
      const target = at.links.get(path)
      if (target !== undefined) return resolveLink(path, target)
      if (at.places.has(path)) return path
    }
    if (folder === '') return null
  }
}

function parentOf(folder: string): string {
  const parent = posix.dirname(folder)
  return parent === '.' ? '' : parent
}

function resolveLink(path: string, target: string): string {
  return posix.join(posix.dirname(path), target)
}
