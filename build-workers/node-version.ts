import { AppError } from '../registry/errors.ts'
import { type PackageJson, readPackageJson } from './package-json.ts'
import { type SourceTree, subtree } from './source-tree.ts'

// The lines of Node that have a name; the newest and `lts/*` are this one as far as anybody minds.
const namedLines: Record<string, string> = { gallium: '16', hydrogen: '18', iron: '20', jod: '22', krypton: '24' }

/**
 * One line for the log when the app asks for another Node than the one it runs on (`26.10.0`); null: it asks for none, or for this one. Upper
 * bounds are habit more often than need, and a version that does not run is never live, so it is tried all the same. Throws
 * INSTALL_FAILED for an app that insists (`engine-strict` in its .npmrc).
 */
export function describeNodeDifference(tree: SourceTree, pkg: PackageJson | null, running: string): string | null {
  const range = pkg?.engines['node']
  if (range && satisfies(running, range) === false) {
    if (/^\s*engine-strict\s*=\s*"?true/m.test(tree.read('.npmrc') ?? ''))
      throw new AppError(
        'INSTALL_FAILED',
        `install failed: engines in package.json asks for Node ${range}, engine-strict in .npmrc insists on it, and Atelier runs Node ${running}; widen the range, or leave engine-strict out`,
      )
    return `warning: engines asks for Node ${range}; Atelier runs Node ${running}, and tries it with that`
  }
  const file = ['.nvmrc', '.node-version'].find((path) => tree.hasFile(path))
  const wanted = file ? (tree.read(file) ?? '').trim() : ''
  const major = /^v?(\d+)/.exec(wanted)?.[1] ?? namedLines[/^lts\/(\w+)/i.exec(wanted)?.[1]?.toLowerCase() ?? '']
  return major && major !== running.split('.')[0]
    ? `warning: ${file} asks for Node ${wanted.slice(0, 20)}; Atelier runs Node ${running}, and tries it with that`
    : null
}

/** The same for an app in a folder of a repository (`''`: its top), which may say it at either place. */
export function describeNodeOf(tree: SourceTree, root: string, running: string): string | null {
  const places = root === '' ? [tree] : [subtree(tree, root), tree]
  return places.map((place) => describeNodeDifference(place, readPackageJson(place), running)).find(Boolean) ?? null
}

/** Whether a version is in a range of npm's kind (`>=18 <23 || ^26`); null for a range that cannot be read. */
export function satisfies(version: string, range: string): boolean | null {
  const alternatives = range.split('||').map((part) => meets(version, part.trim()))
  if (alternatives.includes(true)) return true
  return alternatives.includes(null) ? null : false
}

function meets(version: string, comparators: string): boolean | null {
  const hyphen = /^([\d.xX*]+)\s+-\s+([\d.xX*]+)$/.exec(comparators)
  const text = hyphen ? `>=${hyphen[1]} <=${hyphen[2]}` : comparators.replace(/([<>=~^]+)\s+/g, '$1')
  const results = text
    .split(/\s+/)
    .filter(Boolean)
    .map((comparator) => meetsOne(parts(version), comparator))
  if (results.includes(false)) return false
  return results.includes(null) ? null : true
}

function meetsOne(version: number[], comparator: string): boolean | null {
  const read = /^(>=|<=|>|<|=|\^|~)?v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:[-+].*)?$/.exec(comparator)
  if (!read) return null
  const given = read.slice(2).map((part) => (part === undefined || /[xX*]/.test(part) ? null : Number(part)))
  const low = given.map((part) => part ?? 0)
  const [major = null, minor = null] = given
  // What the written parts allow: 20 means any 20.x.y, 20.1 any 20.1.y.
  const written = given.every((part, at) => part === null || part === version[at])
  if (major === null) return true
  switch (read[1]) {
    case '>=':
      return compare(version, low) >= 0
    case '>':
      return compare(version, low) > 0 && !written
    case '<':
      return compare(version, low) < 0
    case '<=':
      return compare(version, low) <= 0 || written
    case '^':
      return version[0] === major && compare(version, low) >= 0
    case '~':
      return version[0] === major && (minor === null || version[1] === minor) && compare(version, low) >= 0
    default:
      return written
  }
}

function parts(version: string): number[] {
  return version.split('.').map(Number)
}

function compare(a: number[], b: number[]): number {
  const at = a.findIndex((part, index) => part !== b[index])
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0)
}
