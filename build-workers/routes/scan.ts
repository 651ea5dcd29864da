import type { StepLog } from '../../registry/build-logs.ts'
import { messageOf } from '../../registry/errors.ts'
import { mostNotes, type RouteList } from '../../registry/route-list.ts'
import type { BuildContext } from '../build-context.ts'
import type { Page } from '../pack-pages.ts'
import type { Plan } from '../plan.ts'
import { scanAstro } from './astro.ts'
import { filesLeft, type RouteFiles } from './files.ts'
import { htmlPages } from './html.ts'
import { scanNext } from './next.ts'
import { scanNuxt } from './nuxt.ts'
import { scanReactRouter } from './react-router.ts'
import { type FoundRoute, nothingFound, plural, RouteSet, type Scan } from './route-set.ts'
import { scanSvelteKit } from './sveltekit.ts'

const kits: Record<string, (files: RouteFiles) => Scan> = {
  '@sveltejs/kit': scanSvelteKit,
  '@react-router/dev': scanReactRouter,
  astro: scanAstro,
  nuxt: scanNuxt,
}

/** What can be read of an app's routes from what its build has left. Never throws: a list less is no reason to end a build. */
export function scanRoutes(plan: Plan, { workspace, root }: Pick<BuildContext, 'workspace' | 'root'>): Scan {
  const files = filesLeft(workspace.app, root)
  try {
    const scan = scanPlan(plan, files)
    return { ...scan, notes: [...scan.notes, ...files.notes] }
  } catch (thrown) {
    return { ...nothingFound, notes: [`the routes could not be read: ${messageOf(thrown)}`, ...files.notes] }
  }
}

function scanPlan(plan: Plan, files: RouteFiles): Scan {
  if (plan.transform === 'next') return scanNext(files, plan.dist)
  const scan = plan.transform === 'kit' ? kits[plan.kit.tool] : undefined
  return scan ? scan(files) : nothingFound
}

/** One list of what was read of the build, of what the app itself has said (null: it was not asked, or has no list), and of its pages. */
export function listRoutes(
  scan: Scan,
  { framework, pages, ofApp }: { framework: string; pages: Page[]; ofApp: FoundRoute[] | null },
): RouteList {
  const set = new RouteSet()
  for (const note of scan.notes.slice(0, mostNotes)) set.note(note)
  for (const route of [...scan.routes, ...(ofApp ?? [])]) set.add(route)
  set.addMade([...scan.made.map((path) => ({ path, source: null, title: null })), ...htmlPages(pages)])
  const from = ofApp ? 'app' : scan.from === 'nothing' ? 'build' : scan.from
  return set.list(framework, from)
}

const mostShown = 5

/** The line of the log: `Routes      12 pages, 3 API, 40 static`. */
export async function showRoutes(list: RouteList, { log }: { log: StepLog }): Promise<void> {
  await log.step('Routes', describeRoutes(list), async (step) => {
    for (const note of list.notes.slice(0, mostShown)) step.output(note)
    if (list.notes.length > mostShown) step.output(`and ${list.notes.length - mostShown} more`)
  })
}

export function describeRoutes({ framework, routes, static: made }: RouteList): string {
  const count = (kind: string) => routes.filter((route) => route.kind === kind).length
  const [pages, api] = [count('page'), count('api')]
  if (pages + api === 0) return `known to the app alone (${framework})`
  const isAllStatic = api === 0 && made.length === pages && routes.every(({ rendering }) => rendering === 'static')
  return [
    ...(pages > 0 ? [`${pages} ${plural(pages, 'page')}`] : []),
    ...(api > 0 ? [`${api} API`] : []),
    ...(made.length > 0 ? [isAllStatic ? 'static' : `${made.length} static`] : []),
  ].join(', ')
}
