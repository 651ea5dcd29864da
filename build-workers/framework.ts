import { AppError } from '../registry/errors.ts'
import { defaultAppConfig } from './app-config.ts'
import { detectFetchApp } from './fetch-app.ts'
import { chooseKit, detectKit } from './kits.ts'
import { detectNext } from './next-app.ts'
import { detectNodeServer, frameworkOf, namesNodeServer } from './node-server.ts'
import { dependsOn, readPackageJson } from './package-json.ts'
import type { App, Plan } from './plan.ts'
import { detectProcess, planProcess } from './process-app.ts'
import { chooseSite, detectSite, serverKits } from './site.ts'
import { firstFile, type SourceTree, subtree } from './source-tree.ts'
import { closestTo } from './spelling.ts'
import { readStartCommand } from './start-command.ts'

type Chosen = NonNullable<App['config']['build']['framework']>

type Detector = { looksFor: string; detect(app: App): Plan | null }

// In this order: what the person said, then the kinds that say most about themselves, last the plain folder.
const detectors: Detector[] = [
  { looksFor: 'build.framework, build.script or build.entry in atelier.config.ts', detect: detectConfigured },
  { looksFor: 'next in package.json with a next.config, app/ or pages/', detect: detectNext },
  {
    looksFor: 'SvelteKit, Nuxt, Astro, React Router or Angular in package.json',
    detect: detectKit,
  },
  { looksFor: 'vite in package.json with an index.html or a vite.config', detect: detectSite },
  {
    looksFor: 'hono in package.json, or a default export with fetch in src/index.ts or index.ts',
    detect: detectFetchApp,
  },
  {
    looksFor: 'a web: line in a Procfile or a start script that is more than "node <file>"',
    detect: (app) => (isMerePage(app) || isForeign(app) ? null : detectProcess(app)),
  },
  {
    looksFor:
      'a start script such as "node server.js", express, fastify, koa or @hapi/hapi in package.json, or a server.js, app.js, index.js or bin/www that listens',
    detect: detectNodeServer,
  },
  { looksFor: 'an index.html in the top folder, public/ or dist/', detect: detectStatic },
]

/** Chooses how to build the app. Throws FRAMEWORK_UNKNOWN, ENTRY_NOT_FOUND; pure. */
export function detectFramework(app: App): Plan {
  for (const { detect } of detectors) {
    const plan = detect(app)
    if (plan) return plan
  }
  throw new AppError('FRAMEWORK_UNKNOWN', describeUnknown(app))
}

/** What detection looks for, one line each. */
export function whatIsLookedFor(): string[] {
  return detectors.map(({ looksFor }) => looksFor)
}

// The script of a folder of pages shows them to a developer (`live-server`, `python3 -m http.server`).
function isMerePage(app: App): boolean {
  const start = readStartCommand(app.tree, app.pkg)
  if (!start || start.isFromProcfile || start.file !== null) return false
  return frameworkOf(app.pkg) === null && detectStatic(app) !== null
}

// What its Procfile starts would have to be installed first, by a tool that is not there.
function isForeign({ tree, pkg }: App): boolean {
  return pkg === null && foreign.some(([file, what]) => what !== 'Docker' && tree.hasFile(file))
}

function detectConfigured(app: App): Plan | null {
  const { build } = app.config
  if (build.bundler === 'bun')
    throw new AppError(
      'CONFIG_INVALID',
      "build.bundler: 'bun' is not supported yet; leave it out (esbuild bundles), or set build.script",
    )
  if (build.script) {
    return {
      framework: 'custom',
      reason: 'Custom build detected (build.script in atelier.config)',
      notes: [],
      transform: 'script',
      script: build.script,
      output: build.output ?? 'dist',
      entry: build.entry ?? null,
      command: build.kind === 'process' && !build.entry ? startCommand(app) : null,
      asProcess: build.kind === 'process',
    }
  }
  if (build.bundler === 'custom')
    throw new AppError('CONFIG_INVALID', "build.script: is needed when build.bundler is 'custom'")
  if (build.entry && !app.tree.hasFile(build.entry) && !app.pkg?.scripts['build'])
    throw entryMissing(app.tree, build.entry)
  if (build.framework) return detectChosen(app, build.framework)
  if (build.kind) return detectKind(app, build.kind)
  return build.entry ? (detectFetchApp(app) ?? detectNodeServer(app)) : null
}

// The person knows better than any rule: what the tree looks like does not count.
function detectChosen(app: App, name: Chosen): Plan {
  const plan = planChosen(app, name)
  if (plan) return { ...plan, reason: `${nameOfPlan(plan)} chosen (build.framework in atelier.config)` }
  const missing: Partial<Record<Chosen, string>> = {
    static: 'there is no index.html in the top folder, public/ or dist/; name the folder in build.output',
    fetch: 'no file has a default export with fetch; name the file in build.entry',
    server: 'nothing says what to start; write a start script such as "node server.js", or set build.entry',
  }
  throw new AppError(
    'ENTRY_NOT_FOUND',
    `build.framework in atelier.config is '${name}', and ${missing[name] ?? 'there is no package.json'}`,
  )
}

function planChosen(app: App, name: Chosen): Plan | null {
  switch (name) {
    case 'next':
      return detectNext(app, { isChosen: true })
    case 'fetch':
      return detectFetchApp(app)
    case 'server':
      return detectProcess(app) ?? detectNodeServer(app)
    case 'static':
      return detectStatic(app)
    default:
      return chooseKit(app, name) ?? chooseSite(app, name)
  }
}

function nameOfPlan({ reason }: Plan): string {
  return reason.replace(/ detected .*/s, '')
}

// What is meant to listen by itself is no site and no fetch app, whatever it looks like.
function detectKind(app: App, kind: 'server' | 'process'): Plan {
  const { build } = app.config
  const built = detectNext(app) ?? detectKit(app)
  if (built) return { ...built, notes: [...built.notes, said(kind)] }
  const start = kind === 'process' && !build.entry ? readStartCommand(app.tree, app.pkg) : null
  const plan = start?.needsProcess ? planProcess(app, start, said(kind)) : detectNodeServer(app)
  if (plan) return { ...plan, notes: plan.notes.includes(said(kind)) ? plan.notes : [...plan.notes, said(kind)] }
  throw nothingToStart(kind)
}

const said = (kind: string) => `runs as a ${kind}, as build.kind in atelier.config says`

function startCommand(app: App): string {
  const start = readStartCommand(app.tree, app.pkg)
  if (!start) throw nothingToStart('process')
  return start.command
}

function nothingToStart(kind: string): AppError {
  return new AppError(
    'ENTRY_NOT_FOUND',
    `build.kind in atelier.config is '${kind}', and nothing says what to start; write a Procfile with a line such as web: node server.js, or set build.entry`,
  )
}

function entryMissing(tree: SourceTree, entry: string): AppError {
  const close = closestTo(entry, [...tree.paths()].filter((path) => path.split('/').length < 5).slice(0, 2000))
  const hint = close ? `; did you mean ${close}?` : ''
  return new AppError('ENTRY_NOT_FOUND', `build.entry in atelier.config is ${entry}, and there is no such file${hint}`)
}

function detectStatic({ tree, config }: App): Plan | null {
  const { output } = config.build
  const places = output === undefined ? ['', 'public', 'dist'] : [output]
  const index = firstFile(
    tree,
    places.map((place) => (place ? `${place}/index.html` : 'index.html')),
  )
  if (!index) return null
  return {
    framework: 'static',
    reason: `Static files detected (${index})`,
    notes: [],
    transform: 'copy',
    root: index.slice(0, -'index.html'.length).replace(/\/$/, ''),
  }
}

const mostApps = 10

// Folders of a workspace that would be taken as they are.
function appsOfWorkspace(tree: SourceTree, pkg: App['pkg']): string[] {
  if (!tree.hasFile('pnpm-workspace.yaml') && pkg?.['workspaces'] === undefined) return []
  const folders = [...tree.paths()]
    .flatMap((path) => /^(?!.*node_modules\/)(.+)\/package\.json$/.exec(path)?.[1] ?? [])
    .sort()
    .slice(0, 100)
  return folders.filter((folder) => isApp(subtree(tree, folder))).slice(0, mostApps)
}

function isApp(tree: SourceTree): boolean {
  try {
    const app = { tree, pkg: readPackageJson(tree), config: defaultAppConfig }
    return detectors.some(({ detect }) => detect(app) !== null)
  } catch (thrown) {
    if (thrown instanceof AppError) return false
    throw thrown
  }
}

const foreign: [file: string, what: string][] = [
  ['requirements.txt', 'Python'],
  ['pyproject.toml', 'Python'],
  ['Gemfile', 'Ruby'],
  ['go.mod', 'Go'],
  ['composer.json', 'PHP'],
  ['Cargo.toml', 'Rust'],
  ['pom.xml', 'Java'],
  ['Dockerfile', 'Docker'],
]

function describeUnknown({ tree, pkg }: App): string {
  const [first] = tree.paths()
  if (first === undefined) return 'the commit holds no files; add an index.html or an app, commit, and push again'
  if (dependsOn(pkg, 'next'))
    return 'next is in package.json, and there is neither a next.config nor a folder app/ or pages/; for an app in a folder of a repository, name it with build.root in atelier.config.ts'
  const kit = serverKits.find((name) => dependsOn(pkg, name))
  if (kit)
    return `${kit} needs to say what it leaves: with a Node adapter set the start script (such as "node build/index.js"); for static pages set build.script and build.output in atelier.config.ts`
  const apps = appsOfWorkspace(tree, pkg)
  if (apps.length > 0)
    return `this is a repository of several packages; name the folder of the app with build.root in atelier.config.ts: ${apps.join(', ')}`
  const said = namesNodeServer(pkg)
  if (said)
    return `${said}, and no file to start was found; set the start script to "node <file>", or build.entry in atelier.config.ts`
  const other = foreign.find(([file]) => tree.hasFile(file))
  if (other) return `this looks like ${other[1]} (${other[0]}); Atelier runs static sites and Node apps`
  return 'no kind of app was recognised; say what to run in atelier.config.ts: export default { build: { entry: "src/index.ts" } }'
}
