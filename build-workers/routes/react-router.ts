import { z } from 'zod'
import type { RouteMethod } from '../../registry/route-list.ts'
import { readJson } from '../read-json.ts'
import type { RouteFiles } from './files.ts'
import { under } from './route-path.ts'
import { type FoundRoute, nothingFound, type Scan } from './route-set.ts'
import { exportedNames, plainTitle } from './source-marks.ts'

const assets = 'build/client/assets'
const route = z.looseObject({
  id: z.string(),
  parentId: z.string().optional(),
  path: z.string().optional(),
  index: z.boolean().optional(),
  hasLoader: z.boolean().catch(false),
  hasAction: z.boolean().catch(false),
  /** Since 7.5; before that its file says so. */
  hasDefaultExport: z.boolean().optional().catch(undefined),
})
const manifest = z.looseObject({ routes: z.record(z.string(), route) })

type BuiltRoute = z.infer<typeof route>

const deepest = 30
const mostOptionals = 4

/** A React Router app, by the manifest that its build leaves for browsers: `app/routes.ts` is a program. */
export function scanReactRouter(files: RouteFiles): Scan {
  const file = files.names(assets).find((name) => /^manifest-[\w-]+\.js$/.test(name))
  const text = file === undefined ? null : files.read(`${assets}/${file}`, 8e6)
  const built = readJson(manifest, text?.replace(/^window\.__reactRouterManifest=/, '').replace(/;\s*$/, '') ?? null)
  if (!built) return { ...nothingFound, notes: [`there is no manifest of routes in ${assets}`] }
  const { routes } = built
  const found = Object.values(routes)
    .filter(({ path, index }) => index || (path !== undefined && path !== ''))
    .flatMap((one) => spellings(pathOf(one, routes)).map((path) => ({ path, ...describe(one, files) })))
  return { from: 'build', routes: found, made: [], notes: [] }
}

function pathOf(one: BuiltRoute, routes: Record<string, BuiltRoute>): string {
  const parts: string[] = []
  let at: BuiltRoute | undefined = one
  for (let depth = 0; at && depth < deepest; depth++) {
    if (at.path) parts.unshift(at.path)
    at = at.parentId === undefined ? undefined : routes[at.parentId]
  }
  return under(`/${parts.join('/')}`.replace(/\/{2,}/g, '/'), '/')
}

function describe(one: BuiltRoute, files: RouteFiles): Omit<FoundRoute, 'path'> {
  const source = sourceOf(one, files)
  const code = source ? (files.read(source, 262_144) ?? '') : ''
  const names = exportedNames(code)
  const isPage = one.hasDefaultExport ?? (source === null || names.has('default'))
  if (isPage)
    return {
      kind: 'page',
      methods: ['GET'],
      source,
      marks: names.has('meta') ? ['metadata'] : [],
      title: titleOf(code),
    }
  const methods: RouteMethod[] = [
    ...(one.hasLoader ? (['GET'] as const) : []),
    ...(one.hasAction ? (['POST', 'PUT', 'PATCH', 'DELETE'] as const) : []),
  ]
  return { kind: 'api', methods, source, rendering: 'dynamic' }
}

function sourceOf({ id }: BuiltRoute, files: RouteFiles): string | null {
  if (!/^[\w./$()+-]{1,500}$/.test(id) || id.split('/').includes('..')) return null
  const paths = ['tsx', 'ts', 'jsx', 'js', 'mdx'].map((extension) => `app/${id}.${extension}`)
  return paths.find((path) => files.read(path, 1) !== null) ?? null
}

function titleOf(code: string): string | null {
  return plainTitle(code) ?? /\bmeta\b[\s\S]{0,200}?\btitle\s*:\s*(['"])([^'"\\\n]{1,200})\1/.exec(code)?.[2] ?? null
}

// `edit?` may be there or not; `:lang?` has a spelling of its own.
function spellings(path: string): string[] {
  const segments = path.split('/')
  const optional = segments.filter((segment) => /^[^:*].*\?$/.test(segment)).length
  if (optional === 0 || optional > mostOptionals) return [segments.join('/')]
  return segments
    .reduce<string[][]>(
      (ways, segment) =>
        /^[^:*].*\?$/.test(segment)
          ? ways.flatMap((way) => [way, [...way, segment.slice(0, -1)]])
          : ways.map((way) => [...way, segment]),
      [[]],
    )
    .map((way) => way.join('/') || '/')
}
