import type { PackageJson } from './package-json.ts'
import { firstFile, type SourceTree } from './source-tree.ts'

export type StartCommand = {
  /** The file the command runs, as written: `./bin/www`, `.`. */
  file: string
  /** Where it was found: `start script: node ./bin/www`. */
  source: string
  /** Node options of the command, which an isolate does not take. */
  options: string[]
}

const runners = ['node', 'nodemon', 'tsx', 'ts-node', 'nodejs']
const optionsWithValue = [
  '-r',
  '--require',
  '--import',
  '--loader',
  '--experimental-loader',
  '-C',
  '--conditions',
  '--env-file',
]

/** What `scripts.start`, or else the `web:` line of a Procfile, runs with Node; null when neither is of the form `node <file>`. */
export function readStartCommand(tree: SourceTree, pkg: PackageJson | null): StartCommand | null {
  const script = pkg?.scripts['start']
  const fromScript = script ? parseStart(script, 'start script') : null
  if (fromScript) return fromScript
  const web = /^web:\s*(.+)$/m.exec(tree.read('Procfile') ?? '')?.[1]
  return web ? parseStart(web.trim(), 'Procfile') : null
}

// Of `npm run build && NODE_ENV=production node --enable-source-maps dist/server.js` it is the last command that serves.
function parseStart(command: string, where: string): StartCommand | null {
  const last = command.split(/&&|;/).at(-1)?.trim() ?? ''
  const words = last.split(/\s+/).map((word) => word.replace(/^(['"])(.*)\1$/, '$2'))
  while (words[0] !== undefined && (words[0] === 'cross-env' || words[0] === 'exec' || /^[A-Za-z_]\w*=/.test(words[0])))
    words.shift()

  const runner = words.shift()
  if (!runner || !runners.includes(runner)) return null
  const options: string[] = []
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (!word.startsWith('-')) return { file: word, source: `${where}: ${command.trim()}`, options }
    options.push(word)
    if (optionsWithValue.includes(word)) options.push(words.shift() ?? '')
  }
  return null
}

/** The file that Node would run for `node <file>`, or null when the tree has none. */
export function resolveEntry(tree: SourceTree, file: string, pkg: PackageJson | null): string | null {
  const path = normalise(file)
  if (path === '') return resolveMain(tree, pkg)
  return firstFile(tree, [
    path,
    ...['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts', '.json'].map((extension) => path + extension),
    `${path}/index.js`,
  ])
}

/** The file that `main` of package.json names, or index.js. */
export function resolveMain(tree: SourceTree, pkg: PackageJson | null): string | null {
  const main = pkg?.main ? normalise(pkg.main) : ''
  const named = main ? firstFile(tree, [main, `${main}.js`, `${main}/index.js`]) : null
  return named ?? firstFile(tree, ['index.js'])
}

export function normalise(path: string): string {
  return path
    .replace(/^(\.\/+)+/, '')
    .replace(/\/+$/, '')
    .replace(/^\.$/, '')
}
