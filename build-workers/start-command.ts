import { quoteWord, splitCommand } from '../sandbox/isolate/start-command.ts'
import type { PackageJson } from './package-json.ts'
import { checkCommand, readWebLine } from './procfile.ts'
import { expandScripts } from './run-scripts.ts'
import { firstFile, type SourceTree } from './source-tree.ts'

export type StartCommand = {
  /** Where it was found, as written there: `start script: node ./bin/www`. */
  source: string
  /** What runs, with the scripts of package.json that it names put in and what the build has done left out. */
  command: string
  isFromProcfile: boolean
  /** The file that it runs with Node, as written (`./bin/www`, `.`), or with a tool of development in Node's place; null: something else runs. */
  file: string | null
  /** What a thread that runs the file would not do of the command. */
  options: string[]
  /** Why it takes a process: `it has options for node`; null: it is `node <file>` and no more. */
  needsProcess: string | null
}

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
const preloads = new Set(['-r', '--require', '--import', '--loader', '--experimental-loader'])
// Put in Node's place for development: the first two restart on every change, the others take types away, which the build does.
const watchers = ['nodemon', 'ts-node-dev']
const typeStrippers = ['tsx', 'ts-node']
const runners = ['node', 'nodejs', ...watchers, ...typeStrippers]
// They serve files, or a page under development.
const fileServers = new Set([
  ...[
    'vite',
    'serve',
    'http-server',
    'live-server',
    'lite-server',
    'browser-sync',
    'react-scripts',
    'parcel',
    'webpack',
  ],
  ...['webpack-dev-server', 'ng', 'gatsby', 'astro', 'snowpack', 'vue-cli-service', 'eleventy', 'next', 'wrangler'],
  ...['nuxt', 'nuxi', 'docusaurus', 'vitepress'],
])

/** The `web:` line of a Procfile, or else `scripts.start`; null when there is neither. Throws ENTRY_NOT_FOUND. */
export function readStartCommand(tree: SourceTree, pkg: PackageJson | null): StartCommand | null {
  const web = readWebLine(tree)
  const script = pkg?.scripts['start']?.trim()
  const written = web ?? script
  if (!written) return null
  const where = web ? 'Procfile' : 'start script'
  const command = checkCommand(expandScripts(web ?? 'npm start', pkg), where)
  const source = `${where}: ${written.length > 100 ? `${written.slice(0, 100)}…` : written}`
  return { source, command, isFromProcfile: web !== null, ...readProgram(command, pkg) }
}

/** Whether it shows files to a developer, which the platform does by itself. */
export function servesFiles({ command }: StartCommand): boolean {
  const [program] = programOf(lastOf(command))
  return fileServers.has(program ?? '')
}

function readProgram(
  command: string,
  pkg: PackageJson | null,
): Pick<StartCommand, 'file' | 'options' | 'needsProcess'> {
  const { file, options, extra } = readFile(programOf(lastOf(command)))
  return { file, options, needsProcess: whyProcess(command, { file, options: [...options, ...extra] }, pkg) }
}

function whyProcess(
  command: string,
  { file, options }: { file: string | null; options: string[] },
  pkg: PackageJson | null,
): string | null {
  const plain = splitCommand(command)
  if (!plain) return 'the start command needs a shell'
  const program = programOf(command)
  const runner = program[0] ?? ''
  if (file === null || !runners.includes(runner)) return `the start command runs ${runner}`
  if (watchers.includes(runner)) return null
  const isBrought = pkg !== null && Object.hasOwn(pkg.dependencies, runner)
  if (typeStrippers.includes(runner)) return isBrought ? `the start command runs ${runner}` : null
  if (Object.keys(settingsOf(command)).length > 0) return 'the start command sets variables'
  return withoutTypeStrippers(options, pkg).length > 0 ? 'the start command has options' : null
}

// `node --import tsx server.ts`, with tsx there for development only: the build takes the types away.
function withoutTypeStrippers(options: string[], pkg: PackageJson | null): string[] {
  return options.filter((option, at) => {
    const name = [option, options[at + 1] ?? ''].join('=').split('=')
    const isOfPair = preloads.has(option) ? name[1] : preloads.has(options[at - 1] ?? '') ? option : null
    const module = isOfPair ?? (preloads.has(name[0] ?? '') ? name[1] : null)
    const stripper = [...typeStrippers, '@swc-node', 'esbuild-register', '@babel'].find((known) =>
      module?.startsWith(known),
    )
    return !stripper || (pkg !== null && Object.keys(pkg.dependencies).some((known) => known.startsWith(stripper)))
  })
}

// Of `prisma migrate deploy && node dist/server.js` it is the last command that serves.
function lastOf(command: string): string {
  return command.split(/&&|;/).at(-1)?.trim() ?? ''
}

// Words without what is set in front of them.
function programOf(command: string): string[] {
  const plain = splitCommand(command)
  const words = plain
    ? [plain.file, ...plain.args]
    : command.split(/\s+/).map((word) => word.replace(/^(['"])(.*)\1$/, '$2'))
  while (words[0] !== undefined && /^([A-Za-z_]\w*=.*|exec)$/.test(words[0])) words.shift()
  return words
}

// Apps run in production anyway.
function settingsOf(command: string): Record<string, string> {
  const { NODE_ENV, ...others } = splitCommand(command)?.env ?? {}
  return NODE_ENV === undefined || NODE_ENV === 'production' ? others : { NODE_ENV, ...others }
}

function readFile([runner, ...words]: string[]): { file: string | null; options: string[]; extra: string[] } {
  const options: string[] = []
  if (!runner || !runners.includes(runner)) return { file: null, options, extra: [] }
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (!word.startsWith('-')) return { file: word, options, extra: words }
    options.push(word)
    if (optionsWithValue.includes(word)) options.push(words.shift() ?? '')
  }
  return { file: null, options, extra: [] }
}

/** `node <file>`, as a start command. */
export function nodeCommand(file: string): string {
  return `node ${quoteWord(file)}`
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
