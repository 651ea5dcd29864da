import { mkdir, readFile, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import type { EgressUse } from '../sandbox/network/egress-proxy.ts'
import type { Runtime } from '../sandbox/runtime.ts'
import { DependencyCache } from './dependency-cache.ts'
import type { HostNpm } from './host-npm.ts'
import { Installer, ownScripts } from './install.ts'
import { satisfies } from './node-version.ts'
import { emptyPackageJson, hasDependencies, type PackageJson, readPackageJson } from './package-json.ts'
import { choosePackageManager, lockfiles, type PackageManager } from './package-manager.ts'
import { fetchTool, type Tool } from './package-tools.ts'
import type { Programs } from './programs.ts'
import { type SourceTree, subtree } from './source-tree.ts'
import type { Workspace } from './workspace.ts'

export type OpenInstallerDeps = {
  workspace: Workspace
  programs: Programs
  runtime: Runtime
  env: Record<string, string>
  log: StepLog
  npm: HostNpm
  /** Where fetched package managers are kept, for all apps. */
  toolsDir: string
  /** Where this app's installed dependencies are kept, and where its package manager keeps downloads. */
  modulesDir: string
  downloadsDir: string
  use: () => EgressUse
}

export type OpenedInstaller = { root: string; installer: Installer; manager: PackageManager; notes: string[] }

/** How to install what the app in `root` (of the whole tree) depends on; null when there is nothing to install. */
export async function openInstaller(
  tree: SourceTree,
  root: string,
  deps: OpenInstallerDeps,
): Promise<OpenedInstaller | null> {
  const { workspace, runtime, npm, toolsDir } = deps
  const place = installRoot(tree, root)
  const part = subtree(tree, place)
  const pkg = readPackageJson(part) ?? (isWorkspace(part) ? emptyPackageJson() : null)
  // What the members of a workspace depend on stands in their own package.json.
  if (!pkg || !(hasDependencies(pkg) || ownScripts(pkg).length > 0 || isWorkspace(part))) return null

  const npmVersion = await versionOf(join(runtime.modules, 'npm'))
  const manager = ownNpm(choosePackageManager(part, pkg), npmVersion)
  const tool = async () => {
    const fetched = await fetchTool(manager, { toolsDir, npm })
    await linkTool(workspace, manager.name, fetched)
    return fetched
  }
  if (manager.ownProgram)
    await linkTool(workspace, manager.name, { file: join(workspace.app, place, manager.ownProgram), isScript: true })
  const installer = new Installer({
    ...deps,
    tree: part,
    folder: join(workspace.app, place),
    pkg,
    manager,
    tool,
    storeDir: join(deps.downloadsDir, 'pnpm'),
    npmVersion,
    cache: new DependencyCache(deps.modulesDir, { say: (line) => deps.log.output(line) }),
  })
  const notes = [...manager.notes, ...describeManagerDifference(pkg, manager, npmVersion)]
  if (!manager.lockfile)
    notes.push(`no lockfile: every build may get other versions; run ${manager.name} install and commit its lockfile`)
  if (part.hasDirectory('node_modules'))
    notes.push(
      'node_modules is committed, and installed anew all the same; to leave it out: git rm -r --cached node_modules, and a line node_modules in .gitignore',
    )
  return { root: place, installer, manager, notes }
}

/** Scripts of the app may call its package manager by name. */
export function toolBin(workspace: Workspace): string {
  return workspace.beside('bin')
}

// A member of a workspace is installed from the top, where the lockfile is.
function installRoot(tree: SourceTree, root: string): string {
  if (root === '') return ''
  const own = subtree(tree, root)
  if (Object.values(lockfiles).some((files) => files.some((file) => own.hasFile(file)))) return root
  return isWorkspace(tree) ? '' : root
}

function isWorkspace(tree: SourceTree): boolean {
  return tree.hasFile('pnpm-workspace.yaml') || readPackageJson(tree)?.['workspaces'] !== undefined
}

// The one that is there already need not be fetched.
function ownNpm(manager: PackageManager, npmVersion: string): PackageManager {
  return manager.name === 'npm' && manager.version === npmVersion ? { ...manager, version: null } : manager
}

function describeManagerDifference(pkg: PackageJson, { name, version }: PackageManager, npmVersion: string): string[] {
  const range = pkg.engines[name]
  const running = version ?? (name === 'npm' ? npmVersion : null)
  if (!range || !running || satisfies(running, range) !== false) return []
  return [
    `engines asks for ${name} ${range}; ${name} ${running} installs (another one: "packageManager": "${name}@<version>")`,
  ]
}

async function linkTool(workspace: Workspace, name: string, { file }: Tool): Promise<void> {
  await mkdir(toolBin(workspace), { recursive: true, mode: 0o755 })
  await symlink(file, join(toolBin(workspace), name)).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code !== 'EEXIST') throw thrown
  })
}

async function versionOf(packageFolder: string): Promise<string> {
  const read: unknown = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8'))
  return typeof read === 'object' && read !== null && 'version' in read ? String(read.version) : ''
}
