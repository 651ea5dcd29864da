import { readlinkSync } from 'node:fs'
import { lchown, mkdir, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import { AppError, codeOf } from '../registry/errors.ts'
import type { EgressUse } from '../sandbox/network/egress-proxy.ts'
import type { Runtime } from '../sandbox/runtime.ts'
import { type AppParts, isWithin } from './app-parts.ts'
import type { DependencyCache, ModulesArchive } from './dependency-cache.ts'
import { decidingFiles, dependencyKey, type Flavour, scriptedMembers } from './dependency-key.ts'
import { isFolderInside } from './inside.ts'
import { explainInstallFailure, installCommands, shownCommand } from './install-commands.ts'
import type { Wanted } from './module-graph.ts'
import { moveRoots } from './module-tree.ts'
import { type PackageJson, readPackageJson, runtimeDependencies } from './package-json.ts'
import type { PackageManager } from './package-manager.ts'
import type { Tool } from './package-tools.ts'
import type { Programs } from './programs.ts'
import { formatSize } from './size.ts'
import { type SourceTree, subtree } from './source-tree.ts'
import type { Workspace } from './workspace.ts'

export type InstallerDeps = {
  /** Where the lockfile is: the app's folder, or the top of its workspace. */
  folder: string
  tree: SourceTree
  pkg: PackageJson
  manager: PackageManager
  /** Where the package manager is; fetched when it is first needed. */
  tool: () => Promise<Tool>
  /** Where pnpm keeps what it downloads; the others are told by their environment. */
  storeDir: string
  /** Version of the npm that the platform brings. */
  npmVersion: string
  cache: DependencyCache
  /** What went over the build's network so far. */
  use: () => EgressUse
  workspace: Workspace
  programs: Programs
  runtime: Runtime
  /** Without NODE_ENV: installs for a build need devDependencies whatever the app's own variables say. */
  env: Record<string, string>
  log: StepLog
}

const npmOwnFile =
  /^(?:npm error )+(A complete log of this run can be found in|For a full report see:$|\/\S+-report\.txt$)/

/** Installs an app's dependencies, exactly as its lockfile says, or puts back what an earlier build with the same lockfile installed. */
export class Installer {
  readonly #deps: InstallerDeps
  // Read before anything of the app's has run: afterwards its folder holds whatever its programs put there.
  readonly #files: Map<string, Buffer>
  readonly #scripted: string[]
  #hasRun = false

  constructor(deps: InstallerDeps) {
    this.#deps = deps
    this.#scripted = scriptedMembers(deps.tree)
    this.#files = decidingFiles(deps.tree, deps.manager)
  }

  /** Whether a package manager ran, and so may have downloaded something. */
  get hasRun(): boolean {
    return this.#hasRun
  }

  /** Whether packages below the top may run scripts when they are installed, if they are members of the workspace. */
  get hasScriptedMembers(): boolean {
    return this.#scripted.length > 0
  }

  /** All dependencies, in the app's folder. `readOnly`: for programs that will not write among them. */
  async installAll({ readOnly = false }: { readOnly?: boolean } = {}): Promise<void> {
    const { manager, workspace, log, cache } = this.#deps
    const commands = installCommands(manager).full
    await log.step('Installing', shown(manager, commands), async (step) => {
      await this.#provideTool()
      if (readOnly && (await this.#lend())) return step.detail(`${shown(manager, commands)} (cache hit)`)
      const staging = workspace.beside('staging')
      const roots = await cache.restore(this.#key('full'), staging, workspace.owner)
      if (!roots) {
        step.detail(await this.#installCounted(commands, this.#deps.folder))
        return this.#keep('full', this.#deps.folder)
      }
      step.detail(`${shown(manager, commands)} (cache hit)`)
      await this.#moveAside(roots)
      moveRoots(roots, staging, this.#deps.folder)
      await this.#runOwnScripts(roots)
    })
  }

  /**
   * The dependencies that run in production, for the bundle. `afterBuild`: everything is installed in the app's folder already, and stays
   * as it is there. `parts`: what the app uses of its workspace, whose other packages' dependencies are left out.
   */
  async archiveProduction({ afterBuild, parts }: { afterBuild: boolean; parts: AppParts }): Promise<ModulesArchive> {
    const { manager, workspace, log, cache } = this.#deps
    const key = this.#key('production')
    const { production, reduce } = installCommands(manager)
    const commands = afterBuild ? reduce.commands : production
    const detail = afterBuild ? 'production dependencies' : shown(manager, commands)
    return log.step('Installing', detail, async (step) => {
      // A build has generated its own clients by now, and they go into the bundle from its folder.
      const form = { withGenerated: !afterBuild, wanted: this.#wanted(parts), owner: workspace.owner }
      const kept = await cache.archive(key, form)
      if (kept) {
        step.detail(`${detail} (cache hit)`)
        return kept
      }
      const folder = await this.#productionFolder({ withEverything: afterBuild && reduce.fromFull })
      const counted = await this.#installCounted(commands, folder)
      if (!afterBuild) step.detail(counted)
      await this.#keep('production', folder)
      const made = await cache.archive(key, form)
      return made ?? Promise.reject(new AppError('INTERNAL', 'the dependencies just kept are gone'))
    })
  }

  // Scripts of the app call it by its name, also when there is nothing to install.
  async #provideTool(): Promise<void> {
    const { manager, tool } = this.#deps
    if (manager.name !== 'npm' && manager.ownProgram === null) await tool()
  }

  #wanted({ unused, mentioned }: AppParts): Wanted | null {
    if (unused.length === 0) return null
    const packages = [...this.#files].filter(([path]) => basename(path) === 'package.json')
    const folders = packages
      .map(([path, content]): [string, string[]] => {
        const folder = dirname(path)
        return [folder === '.' ? '' : folder, runtimeDependencies(content.toString('utf8'))]
      })
      .filter(([folder]) => !isWithin(folder, unused))
    return { folders: new Map(folders), unused, mentioned }
  }

  /** The dependencies that a build has traced into a folder of the workspace's `app`, for the bundle, where they lie in `below`. */
  archiveTraced(from: string, below: string): Promise<ModulesArchive | null> {
    const { cache, workspace } = this.#deps
    return cache.archiveTraced({ root: workspace.app, from, below, owner: workspace.owner })
  }

  async #lend(): Promise<boolean> {
    const { cache, folder, workspace, pkg, manager } = this.#deps
    // Their own symlinks are followed, and would then lead out of the app.
    const runsScripts = ownScripts(pkg).length > 0 || this.hasScriptedMembers
    if (['pnpm', 'bun'].includes(manager.name) || runsScripts || isFolderInside(folder, 'node_modules')) return false
    return cache.lend(this.#key('full'), folder, workspace.owner)
  }

  #key(flavour: Flavour): string {
    const { manager, npmVersion } = this.#deps
    const version = manager.version ?? manager.ownProgram ?? npmVersion
    return dependencyKey(this.#files, { manager, version, flavour, nodeVersion: process.version, today: today() })
  }

  /** Returns what was run, and how much came over the network for it. */
  async #installCounted(commands: string[][], folder: string): Promise<string> {
    const { use, manager } = this.#deps
    const before = use().received
    await this.#install(commands, folder)
    const received = use().received - before
    return received > 0 ? `${shown(manager, commands)}, ${formatSize(received)} downloaded` : shown(manager, commands)
  }

  async #install(commands: string[][], folder: string): Promise<void> {
    const { manager, programs, env, log } = this.#deps
    this.#hasRun = true
    const lines: string[] = []
    const onLine = (line: string) => {
      lines.push(line)
      if (lines.length > 200) lines.shift()
      // npm's own log and report are files on the server, of no use to who pushes.
      if (!npmOwnFile.test(line)) log.output(line)
    }
    for (const args of commands) {
      const name = shownCommand(manager, args)
      try {
        await programs.run({ name, ...(await this.#program(args)), cwd: folder, env, code: 'INSTALL_FAILED', onLine })
      } catch (thrown) {
        if (!(thrown instanceof AppError) || thrown.code !== 'INSTALL_FAILED') throw thrown
        const why = explainInstallFailure(manager, lines)
        throw why ? new AppError('INSTALL_FAILED', `install failed: ${why}`, { cause: thrown }) : thrown
      }
    }
  }

  async #program(args: string[]): Promise<{ file: string; args: string[] }> {
    const { manager, runtime } = this.#deps
    if (manager.name === 'npm' && manager.version === null)
      return { file: runtime.node, args: [runtime.npmCli, ...args] }
    if (manager.ownProgram) return { file: runtime.node, args: [manager.ownProgram, ...args] }
    const tool = await this.#deps.tool()
    const all = manager.name === 'pnpm' ? [...args, `--store-dir=${this.#deps.storeDir}`] : args
    return tool.isScript ? { file: runtime.node, args: [tool.file, ...all] } : { file: tool.file, args: all }
  }

  async #keep(flavour: Flavour, folder: string): Promise<void> {
    const { cache, workspace } = this.#deps
    const packages = [...this.#files.keys()].filter((path) => /(^|\/)package\.json$/.test(path))
    const roots = packages
      .map((path) => join(dirname(path), 'node_modules'))
      .filter((root) => isFolderInside(folder, root))
    await cache.keep(this.#key(flavour), folder, { roots, owner: workspace.owner })
  }

  // A folder with nothing but what decides about dependencies: what is kept cannot depend on what a build did, nor does installing leave
  // anything in the app.
  async #productionFolder({ withEverything }: { withEverything: boolean }): Promise<string> {
    const { workspace, cache, manager } = this.#deps
    const folder = workspace.beside('production')
    const restored = withEverything ? await cache.restore(this.#key('full'), folder, workspace.owner) : null
    if (!restored) await mkdir(folder, { mode: 0o700 })
    const made = new Set<string>()
    for (const [path, content] of this.#files) {
      for (let parent = dirname(path); parent !== '.'; parent = dirname(parent)) made.add(parent)
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), manager.name === 'bun' ? withoutOwnScripts(path, content) : content)
      made.add(path)
    }
    const { owner } = workspace
    // The top last: until then nobody else can come in between.
    if (owner) for (const path of [...made, '.']) await lchown(join(folder, path), owner.uid, owner.gid)
    return folder
  }

  async #moveAside(roots: string[]): Promise<void> {
    const { workspace } = this.#deps
    const present = roots.filter((root) => isFolderInside(this.#deps.folder, root))
    await mkdir(workspace.beside('replaced'), { recursive: true, mode: 0o700 })
    for (const [at, root] of present.entries())
      await rename(join(this.#deps.folder, root), join(workspace.beside('replaced'), String(at)))
  }

  // The scripts of dependencies ran when these were installed; the project's own may make things outside node_modules, so they run anew: first those of
  // the workspace's members, in which the top's may count on them.
  async #runOwnScripts(roots: string[]): Promise<void> {
    const { pkg, programs, runtime, env, folder, tree } = this.#deps
    const members = this.#scripted.filter((member) => this.#isInstalled(member, roots))
    const all = members.flatMap((member) => {
      const own = readPackageJson(subtree(tree, member))
      return own ? [{ place: member, scripts: ownScripts(own) }] : []
    })
    for (const { place, scripts } of [...all, { place: '', scripts: ownScripts(pkg) }])
      for (const script of scripts)
        await programs.run({
          name: place ? `npm run ${script} (${place})` : `npm run ${script}`,
          file: runtime.node,
          args: [runtime.npmCli, 'run', script],
          cwd: join(folder, place),
          env,
          code: 'INSTALL_FAILED',
        })
  }

  // A package somewhere in the repository need not be a member of the workspace. One has dependencies of its own, or a link at the top.
  #isInstalled(member: string, roots: string[]): boolean {
    const { folder, tree } = this.#deps
    const { name } = readPackageJson(subtree(tree, member)) ?? {}
    if (roots.includes(join(member, 'node_modules'))) return true
    return name !== undefined && linkTarget(folder, join('node_modules', name)) === member
  }
}

// Where a link that a package manager has made leads, relative to the folder; null: there is none.
function linkTarget(folder: string, path: string): string | null {
  try {
    const target = readlinkSync(join(folder, path))
    return join(dirname(path), target).replace(/\/$/, '')
  } catch (thrown) {
    if (['ENOENT', 'EINVAL', 'ENOTDIR', 'ENAMETOOLONG'].includes(codeOf(thrown) ?? '')) return null
    throw thrown
  }
}

// Bun has no way to run the scripts of dependencies and not the project's own, which miss the project's files here.
function withoutOwnScripts(path: string, content: Buffer): Buffer {
  if (basename(path) !== 'package.json') return content
  const pkg: unknown = JSON.parse(content.toString('utf8'))
  if (typeof pkg !== 'object' || pkg === null) return content
  return Buffer.from(JSON.stringify({ ...pkg, scripts: {} }))
}

/** The project's own scripts that a package manager runs after installing, in their order. */
export function ownScripts(pkg: PackageJson): string[] {
  const has = (name: string) => pkg.scripts[name] !== undefined
  // `npm run install` runs preinstall and postinstall around it.
  const around = has('install') ? ['install'] : ['preinstall', 'postinstall'].filter(has)
  return [...around, ...['prepare'].filter(has)]
}

function shown(manager: PackageManager, commands: string[][]): string {
  return shownCommand(manager, commands[0] ?? [])
}

function today(): string {
  return new Date().toISOString().slice(0, 10)
}
