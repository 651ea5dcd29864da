import { z } from 'zod'
import { PathPattern } from '../registry/path-pattern.ts'
import { rolloutPolicy, rolloutSettingNames } from '../registry/rollout-policy.ts'
import { closestTo } from './spelling.ts'
import { mostPaths, staticPathProblem } from './static-paths.ts'

const seconds = (low: number, high: number) => z.number().min(low).max(high)
const text = z.string().min(1)
// Paths in the config are inside the app; a leading ./ is dropped so that they compare with the paths of the source tree.
const appPath = text
  .transform((path) => path.replace(/^(\.\/)+/, '').replace(/\/+$/, ''))
  .refine((path) => !path.startsWith('/') && !path.split('/').includes('..'), 'must be a path inside the app')
  .refine((path) => !/[\0\n\r]/.test(path), 'must be one line')
const urlPath = text.regex(/^\/[^\s?#]*$/, 'must be a path that starts with /, such as /health')
const packageName = z
  .string()
  .regex(/^(@[\w.~-]+\/)?[\w~-][\w.~-]*$/, 'must be the name of a package, such as @mui/material')
const pagePath = urlPath.superRefine((path, context) => {
  const problem = staticPathProblem(path)
  if (problem) context.addIssue({ code: 'custom', message: problem, input: path })
})
const envName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a name such as VITE_API_URL')

const idleMinutes = z.custom<number | false>(
  (value) => value === false || (typeof value === 'number' && value >= 1 && value <= 525_600),
  'must be a number of idle minutes, at least 1, or false',
)

const build = z.strictObject({
  bundler: z.enum(['esbuild', 'bun', 'custom']).optional(),
  /** Folder of the app inside the repository, for monorepos. */
  root: appPath.optional(),
  /** Overrules detection; `fetch` is Hono and its like, `server` whatever listens by itself. */
  framework: z
    .enum([
      ...['next', 'sveltekit', 'nuxt', 'astro', 'react-router', 'angular'],
      ...['vite', 'docusaurus', 'vitepress', 'gatsby', 'react-scripts', 'eleventy'],
      ...['fetch', 'server', 'static'],
    ] as const)
    .optional(),
  /** Folders that belong to an app in a monorepo though nothing in it names them; `.`: all of it. */
  include: z.array(appPath).default([]),
  entry: appPath.optional(),
  /** How a program that listens is run: in a worker thread, or as a process of its own. Default: what it needs. */
  kind: z.enum(['server', 'process']).optional(),
  /** What a fetch app has for browsers. */
  client: z.union([appPath.transform((path) => [path]), z.array(appPath)]).default([]),
  output: appPath.optional(),
  script: text.optional(),
  env: z.record(envName, z.string()).default({}),
  transforms: z
    .strictObject({
      env_inline: z.boolean().default(true),
      /** Named packages are for that side alone. */
      import_strip: z
        .union([
          z.boolean(),
          z.strictObject({ server: z.array(packageName).default([]), client: z.array(packageName).default([]) }),
        ])
        .default(true),
      /** Named packages are free of side effects, whatever they say themselves. */
      barrel_optimize: z.union([z.boolean(), z.array(packageName)]).default(true),
    })
    .prefault({}),
  static: z
    .strictObject({
      enabled: z.boolean().default(true),
      concurrent: z.number().int().min(1).max(64).default(4),
      /** Of a page. */
      timeoutSec: seconds(1, 300).default(30),
      paths: z.array(pagePath).max(mostPaths).default([]),
    })
    .optional(),
})

const pathPattern = urlPath.refine(
  (path) => isPattern(path),
  'must be a path, with :name and one * at most, such as /admin/*',
)

/** What besides the health page is asked before a version has users. */
const routes = z.strictObject({
  sample: z.number().int().min(0).max(100).default(12),
  /** They must exist. */
  paths: z
    .array(text.regex(/^\/[^\s#]*$/, 'must be a path that starts with /, such as /pricing'))
    .max(50)
    .default([]),
  except: z.array(pathPattern).max(100).default([]),
})

const deployments = z.strictObject({
  canary: z.union([z.literal('skip'), rolloutPolicy]).optional(),
  keepVersions: z.number().int().min(1).max(1000).default(10),
  drainTimeoutSec: seconds(0, 3600).default(30),
  /** Of a fetch app, under load. Default: the number of cores, at most 4. */
  maxIsolates: z.number().int().min(1).max(4).optional(),
  /** Idle minutes before it sleeps; false: never. Default: 15 for previews and fetch apps, never for the rest. */
  sleepAfterMin: idleMinutes.optional(),
  healthCheck: z
    .strictObject({
      path: urlPath.optional(),
      timeoutSec: seconds(0.1, 300).default(5),
      routes: z.union([z.literal(false), routes]).prefault({}),
    })
    .prefault({}),
})

const database = z.strictObject({
  provision: z.boolean().optional(),
  /** What is in a preview's at first: nothing, or what is in production's then. */
  preview: z.enum(['empty', 'template']).optional(),
  migrations: appPath.optional(),
  release: text.optional(),
})

const hooks = z.strictObject({
  preBuild: text.optional(),
  postBuild: text.optional(),
  preDeploy: text.optional(),
  postDeploy: text.optional(),
  onRollback: text.optional(),
  timeoutSec: seconds(1, 3600).default(60),
})

const schema = z.strictObject({
  build: build.prefault({}),
  deployments: deployments.prefault({}),
  database: database.optional(),
  /** A folder that stays, at /data. */
  data: z.boolean().default(false),
  hooks: hooks.prefault({}),
})

/** The settings of `atelier.config.ts`, with every default filled in. */
export type AppConfig = z.infer<typeof schema>

export const defaultAppConfig: AppConfig = schema.parse({})

export type ConfigReading = { config: AppConfig; problems: [] } | { config: null; problems: string[] }

/** Reads what a config file exported; every problem is one line that begins with its path. */
export function readAppConfig(value: unknown): ConfigReading {
  const read = schema.safeParse(value, { reportInput: true })
  if (read.success) return { config: read.data, problems: [] }
  return { config: null, problems: read.error.issues.flatMap((issue) => describeIssue(issue)) }
}

type Issue = z.core.$ZodIssue

function describeIssue(issue: Issue, above: PropertyKey[] = []): string[] {
  const path = [...above, ...issue.path]
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => describeUnknownKey(path, key))
  if (issue.code === 'invalid_union') {
    const inner = branchOf(issue)
    if (inner) return inner.flatMap((problem) => describeIssue(problem, path))
  }
  if (issue.code === 'invalid_key') {
    return issue.issues.map((inner) => `${formatPath(path)}: the name ${inner.message}`)
  }
  return [`${formatPath(path) || 'the config'}: ${describeProblem(issue)}`]
}

// Of the alternatives of a union, the one that the value resembles: its problems lie deeper than the value itself.
function branchOf(issue: z.core.$ZodIssueInvalidUnion): Issue[] | undefined {
  return issue.errors.find((problems) =>
    problems.every((problem) => problem.path.length > 0 || problem.code === 'unrecognized_keys'),
  )
}

function describeUnknownKey(path: PropertyKey[], key: string): string {
  const known = knownKeys(path)
  const close = closestTo(key, known)
  const full = formatPath([...path, key])
  if (close) return `${full}: there is no such setting; did you mean ${close}?`
  return `${full}: there is no such setting${known.length > 0 ? ` (there are ${known.join(', ')})` : ''}`
}

function isPattern(path: string): boolean {
  try {
    return new PathPattern(path) !== null
  } catch {
    return false
  }
}

const named = (names: string[]) => Object.fromEntries(names.map((name) => [name, 1]))

const shapes: Record<string, Record<string, unknown>> = {
  '': schema.shape,
  build: build.shape,
  'build.transforms': { env_inline: 1, import_strip: 1, barrel_optimize: 1 },
  'build.transforms.import_strip': { server: 1, client: 1 },
  'build.static': { enabled: 1, concurrent: 1, timeoutSec: 1, paths: 1 },
  deployments: deployments.shape,
  'deployments.canary': named(rolloutSettingNames.canary),
  'deployments.canary.autoRollback': named(rolloutSettingNames.autoRollback),
  'deployments.healthCheck': { path: 1, timeoutSec: 1, routes: 1 },
  'deployments.healthCheck.routes': routes.shape,
  database: database.shape,
  hooks: hooks.shape,
}

function knownKeys(path: PropertyKey[]): string[] {
  return Object.keys(shapes[path.map(String).join('.')] ?? {})
}

const nouns: Record<string, string> = {
  string: 'text in quotes',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object { … }',
  record: 'an object { … }',
}

function describeProblem(issue: Issue): string {
  const wanted = describeWanted(issue)
  if (wanted) return `must be ${wanted}, not ${show(issue.input)}`
  if (issue.code === 'too_small') {
    if (issue.origin === 'string') return 'must not be empty'
    return issue.origin === 'array'
      ? `must have at least ${issue.minimum}`
      : `must be at least ${issue.minimum}, not ${show(issue.input)}`
  }
  if (issue.code === 'too_big') return `must be at most ${issue.maximum}, not ${show(issue.input)}`
  return issue.message
}

function describeWanted(issue: Issue): string | null {
  if (issue.code === 'invalid_type') return nouns[issue.expected] ?? issue.expected
  if (issue.code === 'invalid_value') return issue.values.map((value) => `'${String(value)}'`).join(' or ')
  if (issue.code !== 'invalid_union') return null
  return issue.errors.flatMap((problems) => problems.map((problem) => describeWanted(problem))).join(' or ')
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  const written = typeof value === 'string' ? `'${value}'` : String(value)
  return written.length > 60 ? `${written.slice(0, 57)}…` : written
}

function formatPath(path: PropertyKey[]): string {
  return path.map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at ? '.' : ''}${String(part)}`)).join('')
}
