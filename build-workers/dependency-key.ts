import { createHash } from 'node:crypto'
import type { PackageManager } from './package-manager.ts'
import type { SourceTree } from './source-tree.ts'

export type Flavour = 'full' | 'production'

/** Raised when the way dependencies are kept changes, so that older entries count for nothing. */
const generation = 1

// The parts of a package.json that decide what is installed; a new build script or description does not.
const decidingParts = [
  'name',
  'version',
  'dependencies',
  'devDependencies',
  'optionalDependencies',
  'peerDependencies',
  'peerDependenciesMeta',
  'bundledDependencies',
  'bundleDependencies',
  'overrides',
  'resolutions',
  'workspaces',
  'packageManager',
  'pnpm',
  'dependenciesMeta',
  'allowScripts',
  ...['trustedDependencies', 'catalog', 'catalogs', 'patchedDependencies', 'devEngines'],
]
const decidingScripts = ['preinstall', 'install', 'postinstall', 'prepublish', 'preprepare', 'prepare', 'postprepare']
const settings = [
  '.npmrc',
  '.yarnrc',
  '.yarnrc.yml',
  '.pnpmfile.cjs',
  '.pnpmfile.mjs',
  'pnpm-workspace.yaml',
  'bunfig.toml',
]

/** The files of the app that decide what a package manager installs, with their contents, sorted by path. */
export function decidingFiles(tree: SourceTree, manager: PackageManager): Map<string, Buffer> {
  const isDeciding = (path: string) =>
    path === manager.lockfile ||
    settings.includes(path) ||
    path.startsWith('patches/') ||
    (path.endsWith('.tgz') && !/(^|\/)node_modules\//.test(path)) ||
    /^\.yarn\/(releases|plugins|patches)\//.test(path) ||
    (/(^|\/)package\.json$/.test(path) && !/(^|\/)node_modules\//.test(path))
  const paths = [...tree.paths()].filter(isDeciding).sort()
  return new Map(paths.map((path) => [path, tree.readBytes(path) ?? Buffer.alloc(0)]))
}

export type KeyParts = {
  manager: PackageManager
  /** Of the package manager that runs. */
  version: string
  flavour: Flavour
  nodeVersion: string
  today: string
}

/**
 * The digest under which installed dependencies are kept: what decides about them, and on what they run. Without a lockfile the versions are
 * open, so there the day counts too: they are chosen anew once a day.
 */
export function dependencyKey(
  files: Map<string, Buffer>,
  { manager, version, flavour, nodeVersion, today }: KeyParts,
): string {
  const hash = createHash('sha256')
  const day = manager.lockfile ? null : today
  hash.update(
    JSON.stringify([generation, manager.name, version, flavour, nodeVersion, process.platform, process.arch, day]),
  )
  for (const [path, content] of files) {
    const deciding = path.endsWith('package.json') ? decidingJson(content.toString('utf8')) : content.length
    hash.update(JSON.stringify([path, deciding]))
    if (!path.endsWith('package.json')) hash.update(content)
  }
  return hash.digest('hex').slice(0, 40)
}

function decidingJson(text: string): unknown {
  try {
    const read: unknown = JSON.parse(text)
    if (typeof read !== 'object' || read === null) return text
    const parts = Object.entries(read).filter(([name]) => decidingParts.includes(name))
    const scripts: unknown = 'scripts' in read ? read.scripts : {}
    const lifecycle = Object.entries(scripts ?? {}).filter(([name]) => decidingScripts.includes(name))
    return [parts, lifecycle]
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return text
    throw thrown
  }
}
