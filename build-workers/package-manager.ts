import { AppError } from '../registry/errors.ts'
import { satisfies } from './node-version.ts'
import type { PackageJson } from './package-json.ts'
import type { SourceTree } from './source-tree.ts'

export type PackageManager = {
  name: 'npm' | 'pnpm' | 'yarn' | 'bun'
  /** Yarn 2 and later, which share no options with the classic one. */
  isBerry: boolean
  /** Exact version to fetch; null: the npm that comes with the platform, or a program in the app's own tree. */
  version: string | null
  /** Digest that package.json demands of the package manager itself, as corepack writes it: `sha512.<hex>`. */
  digest: string | null
  /** Path inside the app of Yarn's own program (`yarnPath`), which then runs instead of a fetched one. */
  ownProgram: string | null
  lockfile: string | null
  notes: string[]
}

export const lockfiles = {
  npm: ['package-lock.json', 'npm-shrinkwrap.json'],
  pnpm: ['pnpm-lock.yaml'],
  yarn: ['yarn.lock'],
  bun: ['bun.lock', 'bun.lockb'],
} as const

// What is fetched when package.json names no version: the newest that reads and keeps the lockfile's own format.
const pnpmByLockfile: [format: string, version: string][] = [
  ['5.', '7.33.7'],
  ['6.', '8.15.9'],
  ['9.', '10.34.9'],
]
const pnpmDefault = '10.34.9'
// For `engines.pnpm`, when that excludes the one above.
const pnpmOthers = ['9.15.9', '8.15.9', '7.33.7', '11.28.10', '12.21.0']
const bunDefault = '1.4.5'
const yarnClassic = '1.22.22'
const berryByLockfile: [format: number, version: string][] = [
  [4, '2.4.3'],
  [6, '3.8.6'],
]
const berryDefault = '4.18.1'

/**
 * Chooses by `packageManager` of package.json, else by the lockfile or pnpm's own file; pure. Throws INSTALL_FAILED when `engines` asks for a
 * package manager that is not known here.
 */
export function choosePackageManager(tree: SourceTree, pkg: PackageJson): PackageManager {
  const declared = /^(npm|pnpm|yarn|bun)@(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)(?:\+(sha\d+\.[0-9a-f]+))?$/.exec(
    pkg.packageManager ?? '',
  )
  const notes: string[] = []
  if (pkg.packageManager && !declared)
    notes.push(`packageManager ${JSON.stringify(pkg.packageManager)} is not read: it must be <name>@<version>`)

  // Bun last: its lockfile often lies forgotten beside the one that is used.
  const present = (['pnpm', 'yarn', 'npm', 'bun'] as const).filter((name) => lockfileOf(tree, name) !== null)
  const usual = tree.hasFile('pnpm-workspace.yaml') ? 'pnpm' : 'npm'
  const name = isSupported(declared?.[1]) ? declared[1] : (present[0] ?? usual)
  const ignored = present.filter((other) => other !== name).map((other) => lockfileOf(tree, other))
  if (ignored.length > 0)
    notes.push(`${ignored.join(' and ')} ${ignored.length > 1 ? 'are' : 'is'} not used: ${name} installs`)

  const version = declared?.[1] === name ? (declared[2] ?? null) : null
  const digest = version ? (declared?.[3] ?? null) : null
  const lockfile = lockfileOf(tree, name)
  const plain = { name, isBerry: false, digest, ownProgram: null, lockfile, notes }
  if (name === 'npm') return { ...plain, version }
  if (name === 'pnpm') return { ...plain, version: version ?? pnpmVersion(tree, pkg.engines['pnpm']) }
  if (name === 'bun') {
    notes.push('bun installs; the app runs on Node')
    return { ...plain, version: version ?? bunDefault, digest: null }
  }

  const isBerry = version ? !version.startsWith('1.') : usesBerry(tree)
  const ownProgram = isBerry ? yarnPath(tree) : null
  return {
    name,
    isBerry,
    version: ownProgram ? null : (version ?? (isBerry ? berryVersion(tree) : yarnClassic)),
    digest: isBerry ? null : digest,
    ownProgram,
    lockfile,
    notes,
  }
}

function isSupported(name: string | undefined): name is PackageManager['name'] {
  return name !== undefined && Object.hasOwn(lockfiles, name)
}

function lockfileOf(tree: SourceTree, name: PackageManager['name']): string | null {
  return lockfiles[name].find((file) => tree.hasFile(file)) ?? null
}

// pnpm refuses to run where its own version is not in `engines.pnpm`.
function pnpmVersion(tree: SourceTree, range: string | undefined): string {
  const format = /^lockfileVersion:\s*['"]?([\d.]+)/m.exec(tree.read('pnpm-lock.yaml') ?? '')?.[1] ?? ''
  const usual = pnpmByLockfile.find(([prefix]) => format.startsWith(prefix))?.[1] ?? pnpmDefault
  const known = [usual, ...pnpmOthers].find((version) => !range || satisfies(version, range) !== false)
  if (known) return known
  throw new AppError(
    'INSTALL_FAILED',
    `install failed: engines in package.json asks for pnpm ${range}; name the version there exactly, such as "packageManager": "pnpm@${pnpmDefault}"`,
  )
}

function usesBerry(tree: SourceTree): boolean {
  return tree.hasFile('.yarnrc.yml') || /^__metadata:/m.test(tree.read('yarn.lock') ?? '')
}

function berryVersion(tree: SourceTree): string {
  const format = Number(/^__metadata:\s*\n\s+version:\s*(\d+)/m.exec(tree.read('yarn.lock') ?? '')?.[1] ?? 8)
  return berryByLockfile.find(([newest]) => format <= newest)?.[1] ?? berryDefault
}

function yarnPath(tree: SourceTree): string | null {
  const path = /^yarnPath:\s*['"]?([^'"\n]+?)['"]?\s*$/m.exec(tree.read('.yarnrc.yml') ?? '')?.[1]?.replace(/^\.\//, '')
  return path && tree.hasFile(path) ? path : null
}
