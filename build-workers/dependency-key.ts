import { createHash } from 'node:crypto'
import { isWithin } from './app-parts.ts'
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
const largestRead = 4 * 1_048_576
const settings = [
  '.npmrc',
  '.yarnrc',
  '.yarnrc.yml',
  '.pnpmfile.cjs',
  '.pnpmfile.mjs',
  'pnpm-workspace.yaml',
  'bunfig.toml',
]

/**
 * The files of the app that decide what a package manager installs, with their contents, sorted by path. Scripts that run with an install read
 * more than that: Prisma's the schema, those of a workspace's member whatever lies in its folder.
 */
export function decidingFiles(tree: SourceTree, manager: PackageManager): Map<string, Buffer> {
  const scripted = scriptedMembers(tree)
  const isDeciding = (path: string) =>
    path === manager.lockfile ||
    settings.includes(path) ||
    path.startsWith('patches/') ||
    (path.endsWith('.tgz') && !/(^|\/)node_modules\//.test(path)) ||
    /^\.yarn\/(releases|plugins|patches)\//.test(path) ||
    (/(^|\/)package\.json$/.test(path) && !/(^|\/)node_modules\//.test(path))
  const isRead = (path: string) =>
    !/(^|\/)node_modules\//.test(path) && (path.endsWith('.prisma') || isWithin(path, scripted))
  const files = [...tree.paths()].flatMap((path): [string, Buffer][] => {
    if (isDeciding(path)) return [[path, tree.readBytes(path) ?? Buffer.alloc(0)]]
    const bytes = isRead(path) ? tree.readShort(path, largestRead) : null
    return bytes ? [[path, bytes]] : []
  })
  return new Map(files.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Folders below the top whose package.json has scripts that run when it is installed. */
export function scriptedMembers(tree: SourceTree): string[] {
  return [...tree.paths()]
    .filter((path) => /\/package\.json$/.test(path) && !/(^|\/)node_modules\//.test(path))
    .filter((path) => lifecycleScripts(tree.read(path) ?? '').length > 0)
    .map((path) => path.slice(0, -'/package.json'.length))
    .sort()
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
  const read = parsed(text)
  if (read === null) return text
  return [Object.entries(read).filter(([name]) => decidingParts.includes(name)), lifecycleScripts(text)]
}

function lifecycleScripts(text: string): [string, unknown][] {
  const read = parsed(text)
  const scripts: unknown = read !== null && 'scripts' in read ? read.scripts : {}
  return Object.entries(scripts ?? {}).filter(([name]) => decidingScripts.includes(name))
}

function parsed(text: string): object | null {
  try {
    const read: unknown = JSON.parse(text)
    return typeof read === 'object' ? read : null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw thrown
  }
}
