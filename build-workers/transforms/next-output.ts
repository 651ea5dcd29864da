import { join } from 'node:path'
import { z } from 'zod'
import type { BuildContext } from '../build-context.ts'
import { namesInside, readInside } from '../inside.ts'
import { readJson } from '../read-json.ts'

/** What `next build` has left; paths are relative to the workspace's `app`, URLs begin with `/`. */
export type NextOutput =
  | { kind: 'export'; folder: string; basePath: string }
  | {
      kind: 'standalone'
      /** Where it built: `.next`. */
      dist: string
      /** The app's folder in `standalone`, and `dist` in that. */
      appFolder: string
      distName: string
      basePath: string
      /** Path in front of `/_next/static` in addresses, as `basePath`, or both. */
      staticPrefixes: string[]
      /** Something of the app (a proxy, redirects, headers) comes before its files. */
      hasRules: boolean
      /** Cookies, languages and the like decide what is seen at an address. */
      decidesByVisitor: boolean
    }

const inside = z.string().refine((path) => !path.startsWith('/') && !path.split('/').includes('..'))
const urlPrefix = z.string().catch('').transform(trimmed)

const serverFiles = z.looseObject({
  relativeAppDir: inside.optional(),
  config: z.looseObject({
    basePath: urlPrefix,
    assetPrefix: urlPrefix,
    output: z.string().optional().catch(undefined),
  }),
})
const rule = z.looseObject({
  internal: z.boolean().optional(),
  has: z.unknown().optional(),
  missing: z.unknown().optional(),
})
const list = z.array(rule).default([])
const rewrites = z.object({ beforeFiles: list, afterFiles: list, fallback: list })
const rules = z.looseObject({
  redirects: list,
  headers: list,
  // One list stands for `afterFiles`.
  rewrites: z
    .union([list.transform((afterFiles) => ({ beforeFiles: [], afterFiles, fallback: [] })), rewrites])
    .default({ beforeFiles: [], afterFiles: [], fallback: [] }),
  i18n: z.unknown().optional(),
})
const exported = z.looseObject({ outDirectory: z.string() })
const middleware = z.looseObject({ middleware: z.record(z.string(), z.unknown()).catch({}) })
const functions = z.looseObject({ functions: z.record(z.string(), z.unknown()).catch({}) })

/** Looks for it: in `dist` first, else in whatever folder of the app holds one. Null: there is none that can be used. */
export function findNextOutput(context: BuildContext, dist: string): NextOutput | null {
  const { workspace, root } = context
  const others = namesInside(workspace.app, root).filter((name) => name !== dist && name !== 'node_modules')
  for (const name of [dist, ...others]) {
    const found = readOutput(context, join(root, name), name)
    if (found) return found
  }
  return null
}

function readOutput({ workspace, root }: BuildContext, dist: string, distName: string): NextOutput | null {
  const read = <T>(schema: z.ZodType<T>, path: string) =>
    readJson(schema, readInside(workspace.app, join(dist, path), 8e6))
  const files = read(serverFiles, 'required-server-files.json')
  if (!files) return null
  const { basePath, assetPrefix, output } = files.config
  if (output === 'export') {
    const { outDirectory = '' } = read(exported, 'export-detail.json') ?? {}
    const folder = outDirectory.startsWith(`${workspace.app}/`) ? outDirectory.slice(workspace.app.length + 1) : null
    return folder && !folder.split('/').includes('..') ? { kind: 'export', folder, basePath } : null
  }
  const appFolder = files.relativeAppDir ?? root
  if (readInside(workspace.app, join(dist, 'standalone', appFolder, 'server.js'), 1) === null) return null
  const routes = read(rules, 'routes-manifest.json')
  const hasProxy =
    Object.keys(read(middleware, 'server/middleware-manifest.json')?.middleware ?? {}).length > 0 ||
    Object.hasOwn(read(functions, 'server/functions-config-manifest.json')?.functions ?? {}, '/_middleware')
  return {
    ...{ kind: 'standalone', dist, distName, appFolder, basePath },
    staticPrefixes: [...new Set([basePath, ...(assetPrefix.startsWith('/') ? [assetPrefix] : [])])],
    hasRules: !routes || hasProxy || comesBeforeFiles(routes),
    decidesByVisitor: !routes || hasProxy || looksAtVisitors(routes),
  }
}

// A redirect of Next's own concerns a slash at the end.
function comesBeforeFiles({ redirects, headers, rewrites }: z.infer<typeof rules>): boolean {
  return headers.length > 0 || redirects.some(({ internal }) => internal !== true) || rewrites.beforeFiles.length > 0
}

function looksAtVisitors({ redirects, headers, rewrites, i18n }: z.infer<typeof rules>): boolean {
  const all = [...redirects, ...headers, ...rewrites.beforeFiles, ...rewrites.afterFiles, ...rewrites.fallback]
  return all.some(({ has, missing }) => has !== undefined || missing !== undefined) || (i18n ?? null) !== null
}

function trimmed(prefix: string): string {
  return prefix.replace(/\/+$/, '')
}
