import { PathPattern } from '../../../registry/path-pattern.ts'
import type { HeaderRule } from '../../../registry/site-rules.ts'

/** Headers that rules add to a file's own, by lower-case name, with every value that was given. */
export type AddedHeaders = ReadonlyMap<string, { name: string; values: string[] }>

const none: AddedHeaders = new Map()

/** A site's `_headers`: all rules that fit a path count, in their order. */
export class HeaderRules {
  readonly #rules: { pattern: PathPattern; set: [string, string][]; unset: string[] }[]

  constructor(rules: HeaderRule[]) {
    this.#rules = rules.map(({ path, set, unset }) => ({ pattern: new PathPattern(path), set, unset }))
  }

  get isEmpty(): boolean {
    return this.#rules.length === 0
  }

  /** What is added to the file under a decoded path. */
  for(path: string): AddedHeaders {
    if (this.isEmpty) return none
    const added = new Map<string, { name: string; values: string[] }>()
    for (const { pattern, set, unset } of this.#rules) {
      if (!pattern.match(path)) continue
      for (const name of unset) added.delete(name.toLowerCase())
      for (const [name, value] of set) {
        const known = added.get(name.toLowerCase())
        if (known) known.values.push(value)
        else added.set(name.toLowerCase(), { name, values: [value] })
      }
    }
    return added
  }
}

/**
 * A file's own headers with what rules add, as flat pairs. A content type or cache control of the site's replaces ours; what responses vary by
 * is added to; cookies stay lines of their own, and keep the response out of shared caches.
 */
export function withAdded(own: [string, string][], added: AddedHeaders): string[] {
  const headers = new Map<string, [string, string]>(own.map(([name, value]) => [name, [name, value]]))
  for (const [lower, { name, values }] of added) {
    const vary = lower === 'vary' ? (headers.get(lower)?.[1] ?? []) : []
    if (lower !== 'set-cookie')
      headers.set(lower, [lower in replaced ? lower : name, [vary, ...values].flat().join(', ')])
  }
  const cookies = added.get('set-cookie')?.values ?? []
  if (cookies.length > 0 && !added.has('cache-control'))
    headers.set('cache-control', ['cache-control', 'private, max-age=0, must-revalidate'])
  return [...headers.values(), ...cookies.map((value) => ['set-cookie', value])].flat()
}

// Looked for by these names where a response is put together.
const replaced = { 'content-type': true, 'cache-control': true, vary: true }
