import { splitCommand } from '../sandbox/isolate/start-command.ts'
import { entryStyle } from './entry-style.ts'
import type { PackageJson } from './package-json.ts'
import type { App, Plan } from './plan.ts'
import { firstFile } from './source-tree.ts'
import { normalise, readStartCommand, resolveEntry } from './start-command.ts'

const frameworks: [name: string, title: string][] = [
  ['@nestjs/core', 'NestJS'],
  ['express', 'Express'],
  ['fastify', 'Fastify'],
  ['koa', 'Koa'],
  ['@hapi/hapi', 'hapi'],
  ['@hono/node-server', 'Hono on Node'],
  ['polka', 'Polka'],
  ['restify', 'restify'],
  ['h3', 'h3'],
  ['socket.io', 'Socket.IO'],
  ['ws', 'WebSocket server'],
]

const names = ['server', 'app', 'index', 'main', 'src/server', 'src/app', 'src/index', 'src/main']
const usualFiles = ['js', 'mjs', 'cjs', 'ts', 'mts'].flatMap((extension) => names.map((name) => `${name}.${extension}`))
usualFiles.push('bin/www', 'bin/www.js')

type Found = { entry: string; source: string; options: string[] }

/** A program that listens: Express, Fastify, Koa, bare http. */
export function detectNodeServer(app: App): Plan | null {
  const { pkg, config } = app
  const found = findEntry(app)
  if (!found) return null
  const framework = frameworkOf(pkg)
  return {
    framework: framework?.name ?? 'node',
    reason: framework
      ? `${framework.title} detected (${framework.dependency} in package.json, ${found.source})`
      : `Node server detected (${found.source})`,
    notes: found.options.length > 0 ? [`not applied from the start command: ${found.options.join(' ')}`] : [],
    transform: 'server',
    entry: found.entry,
    asProcess: config.build.kind === 'process',
    build: !config.build.script && Boolean(pkg?.scripts['build']),
  }
}

/** The server framework among the dependencies; `name` is what the manifest calls it. */
export function frameworkOf(pkg: PackageJson | null): { name: string; dependency: string; title: string } | null {
  const found = frameworks.find(([name]) => pkg && Object.hasOwn(pkg.dependencies, name))
  return found ? { name: manifestName(found[0]), dependency: found[0], title: found[1] } : null
}

/** What in package.json speaks of a server, as the beginning of a sentence; null when nothing does. */
export function namesNodeServer(pkg: PackageJson | null): string | null {
  const framework = frameworkOf(pkg)
  if (framework) return `${framework.dependency} is in package.json`
  return pkg?.scripts['start'] ? `the start script is ${JSON.stringify(pkg.scripts['start'])}` : null
}

function findEntry(app: App): Found | null {
  const { tree, pkg, config } = app
  const build = Boolean(pkg?.scripts['build'])
  if (config.build.entry)
    return { entry: config.build.entry, source: `build.entry: ${config.build.entry}`, options: [] }

  const start = readStartCommand(tree, pkg)
  if (start?.file) {
    const entry = resolveEntry(tree, start.file, pkg)
    if (entry) return { entry, source: start.source, options: start.options }
    // Not there yet: `node dist/index.js` after the build script.
    if (build)
      return {
        entry: normalise(start.file) || normalise(pkg?.main ?? 'index.js'),
        source: start.source,
        options: start.options,
      }
  }
  const nest = nestEntry(app)
  if (nest && build) return { entry: nest, source: `start script: ${pkg?.scripts['start']}`, options: [] }
  return findByName(app)
}

/** What `nest start` would run after building, where its command line is there for development only; null: something else is started. */
export function nestEntry({ tree, pkg }: App): string | null {
  const start = readStartCommand(tree, pkg)
  if (!pkg || !start || start.file !== null || Object.hasOwn(pkg.dependencies, '@nestjs/cli')) return null
  if (!/^nest start\b/.test(start.command)) return null
  const production = splitCommand(pkg.scripts['start:prod'] ?? '')
  const [file] = production?.file === 'node' ? production.args : []
  return normalise(file && !file.startsWith('-') ? file : 'dist/main')
}

function findByName({ tree, pkg }: App): Found | null {
  const main = pkg?.main ? normalise(pkg.main) : null
  const present = [...(main ? [main] : []), ...usualFiles].filter((path) => tree.hasFile(path))
  const listening = present.find((path) => entryStyle(tree.read(path) ?? '') === 'server')
  if (listening) return { entry: listening, source: `${listening} listens`, options: [] }

  // A framework is there, so one of these is the program even if `listen` is called elsewhere.
  const first = frameworkOf(pkg) ? firstFile(tree, present) : null
  return first ? { entry: first, source: first, options: [] } : null
}

function manifestName(dependency: string): string {
  return dependency.replace(/^@nestjs\/core$/, 'nest').replace(/^@.*\//, '')
}
