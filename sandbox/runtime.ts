import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { findPackageJSON, stripTypeScriptTypes } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { AppError, codeOf } from '../registry/errors.ts'
import { closedAncestor, copyTree, isClosed } from './reach.ts'

/** Absolute paths that every sandbox user can reach. */
export type Runtime = {
  /** Whose it is; only the platform can write there. */
  home: string
  /** The Node that runs apps and builds. */
  node: string
  /** A folder for PATH with `node`, `npm` and `npx`. */
  bin: string
  /** Run as `node npmCli …`. */
  npmCli: string
  /** A node_modules folder with npm and esbuild. */
  modules: string
  /** The module that is pg_dump, of version 18. */
  pgDump: string
  /** The first script of an isolate's host. */
  boot: string
  /** The first script of the host of a process. */
  processBoot: string
  /** Loaded before an app that Node runs as a process. */
  processOutput: string
  /** What a program must be able to read to use any of these. */
  paths: string[]
}

/**
 * Makes `$home/runtime` (0711) hold what programs under other uids must reach: the boot scripts without their types (Node starts
 * 37 ms faster so), and, where the checkout is closed to others, copies of Node, npm and esbuild. Every piece is named by its
 * content or version and appears whole, so several roles may prepare at once. Throws HOME_UNUSABLE when others cannot reach the home.
 */
export function prepareRuntime(home: string): Promise<Runtime> {
  const known = prepared.get(home)
  if (known) return known
  const preparation = prepare(home)
  prepared.set(home, preparation)
  preparation.catch(() => prepared.delete(home))
  return preparation
}

/**
 * Copies one script to the runtime without its types, where every sandbox user can run it; it may import node builtins, and the
 * scripts `beside` it by './name.ts'.
 */
export async function stageScript(home: string, path: string, beside: string[] = []): Promise<string> {
  return join(await stageScripts(await openRuntimeFolder(home), [path, ...beside]), scriptName(basename(path)))
}

/** The same of a script that imports packages of the platform's: one file with all of it. */
export async function stageBundle(home: string, path: string, { modules }: Pick<Runtime, 'modules'>): Promise<string> {
  const known = bundles.get(path) ?? bundle(path, modules)
  bundles.set(path, known)
  known.catch(() => bundles.delete(path))
  const text = await known
  const name = scriptName(basename(path))
  const place = await placeOnce(
    join(await openRuntimeFolder(home), `bundle-${digestOf([text])}`),
    async (temporary) => {
      await writeFile(join(temporary, name), text)
      await chmod(join(temporary, name), 0o644)
    },
  )
  return join(place, name)
}

const bundles = new Map<string, Promise<string>>()

// Packages written for CommonJS ask for modules of Node's with require.
const requireInModule = 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);'

async function bundle(path: string, modules: string): Promise<string> {
  const esbuild = join(modules, '@esbuild', `${process.platform}-${process.arch}`, 'bin', 'esbuild')
  const options = [
    '--bundle',
    '--platform=node',
    '--format=esm',
    '--external:pg-native',
    `--banner:js=${requireInModule}`,
  ]
  const { stdout } = await promisify(execFile)(esbuild, [path, ...options], { env: {}, maxBuffer: 16 * 1_048_576 })
  return stdout
}

const prepared = new Map<string, Promise<Runtime>>()
const pgDump = '@electric-sql/pglite-tools'
const packages = ['npm', 'esbuild', `@esbuild/${process.platform}-${process.arch}`, pgDump]
const bootScripts = [
  'isolate-boot.ts',
  'isolate.worker.ts',
  'isolate-process.ts',
  'isolate-listen.ts',
  'isolate-fetch.ts',
  'isolate-routes.ts',
  'isolate-lane.ts',
  'isolate-lanes.ts',
  'isolate-channel.ts',
  'isolate-messages.ts',
  'isolate-places.ts',
  'isolate-request.ts',
  'isolate-response.ts',
  'isolate-shadow.ts',
  'isolate-syntax.ts',
  'isolate-unset.ts',
  'process-boot.ts',
  'process-output.cts',
  'process-ports.ts',
  'process-pulse.ts',
  'process-relay.ts',
]

async function prepare(home: string): Promise<Runtime> {
  const folder = await openRuntimeFolder(home)
  const boot = stageScripts(
    folder,
    bootScripts.map((name) => join(import.meta.dirname, 'isolate', name)),
  )
  const node = await reachableNode(folder)
  const modules = await reachableModules(folder)
  const npmCli = join(modules, 'npm', 'bin', 'npm-cli.js')
  const bin = await linkCommands(folder, { node, npm: npmCli, npx: join(modules, 'npm', 'bin', 'npx-cli.js') })
  const paths = [folder, node, ...packages.map((name) => join(modules, name))]
  const scripts = await boot
  return {
    ...{ home, node, bin, npmCli, modules, paths },
    pgDump: join(modules, pgDump, 'dist', 'pg_dump.js'),
    boot: join(scripts, 'isolate-boot.mjs'),
    processBoot: join(scripts, 'process-boot.mjs'),
    processOutput: join(scripts, 'process-output.cjs'),
  }
}

async function openRuntimeFolder(home: string): Promise<string> {
  const folder = join(await realpath(home), 'runtime')
  await mkdir(folder, { recursive: true })
  await chmod(folder, 0o711)
  if (process.getuid?.() !== 0) return folder

  await chmod(dirname(folder), ((await stat(dirname(folder))).mode & 0o777) | 0o111)
  const closed = await closedAncestor(folder)
  if (closed)
    throw new AppError(
      'HOME_UNUSABLE',
      `${home} cannot be reached by the users that apps run as: ${closed} is closed to others`,
    )
  return folder
}

// A set of scripts that import one another by './name.ts'; the folder's name is the digest of their texts.
async function stageScripts(folder: string, paths: string[]): Promise<string> {
  const sources = await Promise.all(paths.map((path) => readFile(path, 'utf8')))
  return placeOnce(join(folder, `scripts-${digestOf([process.version, ...sources])}`), async (place) => {
    for (const [index, source] of sources.entries()) {
      const script = withoutTypes(source).replace(/(from|import\() *'(\.\/[^']+)\.ts'/g, "$1 '$2.mjs'")
      const path = join(place, scriptName(basename(paths[index] ?? '')))
      await writeFile(path, script)
      await chmod(path, 0o644)
    }
  })
}

const scriptName = (name: string) => name.replace(/\.ts$/, '.mjs').replace(/\.cts$/, '.cjs')

// Node announces on stderr, once per process, that this function is experimental; whoever reads the platform's log cannot act on it.
function withoutTypes(source: string): string {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(source)
  } finally {
    process.emitWarning = emitWarning
  }
}

async function reachableNode(folder: string): Promise<string> {
  const node = await realpath(process.execPath)
  if (!(await isClosed(node))) return node
  const { size, mtimeMs } = await stat(node)
  const place = join(folder, `node-${process.version}-${digestOf([size, mtimeMs])}`)
  return join(await placeOnce(place, (temporary) => copyTree(node, join(temporary, 'node'))), 'node')
}

async function reachableModules(folder: string): Promise<string> {
  const found = packages.map((name) => ({ name, from: packageFolder(name) }))
  const modules = dirname(packageFolder('npm'))
  const areTogether = found.every(({ name, from }) => from === join(modules, name))
  if (areTogether && !(await isClosed(join(modules, 'npm', 'bin', 'npm-cli.js')))) return modules

  const versions = await Promise.all(found.map(({ from }) => readFile(join(from, 'package.json'), 'utf8')))
  const place = await placeOnce(join(folder, `tools-${digestOf(versions)}`), async (temporary) => {
    for (const { name, from } of found) await copyTree(from, join(temporary, 'node_modules', name))
    for (const parent of ['node_modules', 'node_modules/@esbuild', `node_modules/${dirname(pgDump)}`])
      await chmod(join(temporary, parent), 0o755)
  })
  return join(place, 'node_modules')
}

function packageFolder(name: string): string {
  const found = findPackageJSON(name, import.meta.url)
  if (found === undefined) throw new AppError('INTERNAL', `the npm package ${name} is not installed; run npm ci`)
  return dirname(found)
}

async function linkCommands(folder: string, commands: Record<string, string>): Promise<string> {
  return placeOnce(join(folder, `bin-${digestOf(Object.values(commands))}`), async (place) => {
    for (const [name, target] of Object.entries(commands)) await symlink(target, join(place, name))
  })
}

function digestOf(parts: (string | number)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16)
}

// Another role may be placing the same; whoever renames first wins and the other throws its own copy away. Modes are set after
// the fact, whatever the umask.
async function placeOnce(place: string, fill: (temporary: string) => Promise<void>): Promise<string> {
  if (await exists(place)) return place
  const temporary = join(dirname(place), `.${randomBytes(6).toString('hex')}`)
  try {
    await mkdir(temporary)
    await chmod(temporary, 0o755)
    await fill(temporary)
    await rename(temporary, place)
  } catch (thrown) {
    await rm(temporary, { recursive: true, force: true })
    if (codeOf(thrown) !== 'ENOTEMPTY' && codeOf(thrown) !== 'EEXIST') throw thrown
  }
  return place
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (thrown: unknown) => {
      if (codeOf(thrown) === 'ENOENT') return false
      throw thrown
    },
  )
}
