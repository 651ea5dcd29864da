import type { ListedRoute, RouteMark } from '../../registry/route-list.ts'
import type { RouteFiles } from './files.ts'
import { pathOfHtml } from './html.ts'
import { fromBrackets } from './route-path.ts'
import { type FoundRoute, nothingFound, type Scan } from './route-set.ts'
import { exportedNames, exportedValue, methodsOf, plainTitle } from './source-marks.ts'

const folder = 'src/routes'
const prerendered = '.svelte-kit/output/prerendered/pages'

/** A SvelteKit app, by `src/routes`, and what its build has prerendered. */
export function scanSvelteKit(files: RouteFiles): Scan {
  const paths = files.list(folder)
  if (paths.length === 0)
    return { ...nothingFound, notes: [`there is no ${folder}: of another kit.files.routes nothing is known`] }
  const tree = new RoutesFolder(files, paths)
  const made = files
    .list(prerendered)
    .filter((path) => path.endsWith('.html'))
    .map(pathOfHtml)
  return { from: 'source', routes: tree.folders().flatMap((at) => tree.routesOf(at)), made, notes: [] }
}

class RoutesFolder {
  readonly #files: RouteFiles
  readonly #byFolder = Map.groupBy<string, string>([], folderOf)
  readonly #prerender = new Map<string, string | null>()

  constructor(files: RouteFiles, paths: string[]) {
    this.#files = files
    this.#byFolder = Map.groupBy(paths, folderOf)
  }

  folders(): string[] {
    return [...this.#byFolder.keys()]
  }

  routesOf(at: string): FoundRoute[] {
    const path = fromBrackets(decoded(at))
    const page = this.#find(at, /^\+page(@[^/]*)?\.svelte$/)
    const server = this.#find(at, /^\+server\.[jt]s$/)
    return [...(page ? [this.#page(at, path, page)] : []), ...(server ? [this.#endpoint(path, server)] : [])]
  }

  #page(at: string, path: string, source: string): FoundRoute {
    const code = this.#read(source)
    const own = this.#readAll(at, /^\+page(\.server)?\.[jt]s$/)
    const marks: RouteMark[] = []
    if (own.some((text) => exportedNames(text).has('entries'))) marks.push('static-params')
    if (/<svelte:head>/.test(code)) marks.push('metadata')
    const prerender = ownValue(own) ?? this.#inherited(at)
    return {
      path,
      kind: 'page',
      methods: ['GET'],
      source,
      rendering: renderingOf(prerender),
      marks,
      title: plainTitle(code),
    }
  }

  #endpoint(path: string, source: string): FoundRoute {
    const code = this.#read(source)
    const names = exportedNames(code)
    const rendering = renderingOf(exportedValue(code, 'prerender'))
    return { path, kind: 'api', methods: names.has('fallback') ? null : methodsOf(names), source, rendering }
  }

  // What the nearest layout says holds.
  #inherited(at: string): string | null {
    const known = this.#prerender.get(at)
    if (known !== undefined) return known
    const own = ownValue(this.#readAll(at, /^\+layout(\.server)?\.[jt]s$/))
    const value = own ?? (at === '' ? null : this.#inherited(at.includes('/') ? at.slice(0, at.lastIndexOf('/')) : ''))
    this.#prerender.set(at, value)
    return value
  }

  #find(at: string, name: RegExp): string | null {
    const found = this.#byFolder.get(at)?.find((path) => name.test(path.slice(path.lastIndexOf('/') + 1)))
    return found === undefined ? null : `${folder}/${found}`
  }

  #readAll(at: string, name: RegExp): string[] {
    const found = this.#byFolder.get(at)?.filter((path) => name.test(path.slice(path.lastIndexOf('/') + 1))) ?? []
    return found.map((path) => this.#read(`${folder}/${path}`))
  }

  #read(path: string): string {
    return this.#files.read(path, 262_144) ?? ''
  }
}

function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : ''
}

function ownValue(codes: string[]): string | null {
  return codes.map((code) => exportedValue(code, 'prerender')).find((value) => value !== null) ?? null
}

// `auto`: where it can be known ahead which paths there are.
function renderingOf(prerender: string | null): ListedRoute['rendering'] {
  return prerender === 'true' ? 'static' : prerender === 'auto' ? null : 'dynamic'
}

// `[x+3a]` and `[u+1f600]` stand for a character that a file name may not have.
function decoded(path: string): string {
  return path.replace(/\[(?:x|u)\+([0-9a-f]{2,6})\]/gi, (written, code: string) => {
    const point = Number.parseInt(code, 16)
    return point <= 0x10_ff_ff ? String.fromCodePoint(point) : written
  })
}
