import { type Captures, PathPattern, withoutSlash } from '../../../registry/path-pattern.ts'
import { type RedirectRule, targetPlaceholder } from '../../../registry/site-rules.ts'
import { decodePath } from './file-table.ts'

/**
 * What a rule does with a request: sends it to a location, or answers it with what is at another path of the site (`path` decoded, `target` as an
 * app would be asked for it). `isPattern`: the rule is for more than one path.
 */
export type Redirected =
  | { status: 301 | 302 | 303 | 307 | 308; location: string }
  | { status: 200 | 404; path: string; target: string; isPattern: boolean }

type Rule = { index: number; pattern: PathPattern; to: string; status: RedirectRule['status']; force: boolean }

/**
 * A site's `_redirects`: the first rule that fits counts. Plain paths are looked up; of the others only those are compared whose first
 * segment is the path's, or may be anything, and that stand before the plain one.
 */
export class RedirectRules {
  readonly hasForced: boolean
  readonly isEmpty: boolean
  readonly #plain = new Map<string, Rule>()
  readonly #byFirst = new Map<string, Rule[]>()
  readonly #open: Rule[] = []

  constructor(rules: RedirectRule[]) {
    this.hasForced = rules.some(({ force }) => force)
    this.isEmpty = rules.length === 0
    for (const [index, { from, to, status, force }] of rules.entries()) {
      const rule = { index, pattern: new PathPattern(from), to, status, force }
      if (!rule.pattern.isPlain) this.#keep(rule)
      else if (!this.#plain.has(rule.pattern.plain)) this.#plain.set(rule.pattern.plain, rule)
    }
  }

  /** The rule for a request target, whose decoded path is given; `forced`: of those that hold for files too. Null: none. */
  find(path: string, target: string, { forced }: { forced: boolean }): Redirected | null {
    const plain = this.#plain.get(withoutSlash(path))
    let found = plain && (plain.force || !forced) ? { rule: plain, captures: new Map() as Captures } : null
    for (const rules of [this.#byFirst.get(firstOf(path)) ?? [], this.#open]) {
      for (const rule of rules) {
        if (found && rule.index > found.rule.index) break
        const captures = forced && !rule.force ? null : rule.pattern.match(path)
        if (captures) found = { rule, captures }
      }
    }
    return found && apply(found.rule, found.captures, target)
  }

  #keep(rule: Rule): void {
    const { first } = rule.pattern
    if (first === null) this.#open.push(rule)
    else this.#byFirst.set(first, [...(this.#byFirst.get(first) ?? []), rule])
  }
}

function firstOf(path: string): string {
  const end = path.indexOf('/', 1)
  return path.slice(1, end === -1 ? undefined : end)
}

function apply({ to, status, pattern }: Rule, captures: Captures, target: string): Redirected | null {
  const filled = fill(to, captures)
  const query = target.indexOf('?')
  // What stands behind the path goes along, unless the rule says its own.
  const location = query === -1 || filled.includes('?') ? filled : addQuery(filled, target.slice(query))
  if (status !== 200 && status !== 404) return location === target ? null : { status, location }
  const path = decodePath(filled.replace(/#.*$/, ''))
  return path === null ? null : { status, path, target: location, isPattern: !pattern.isPlain }
}

/**
 * Captures were decoded and are encoded again, so that nothing in them ends a header or starts a query. A path that would begin with two
 * slashes, which is another host to a browser, begins with one (security.md E10).
 */
function fill(to: string, captures: Captures): string {
  const [, origin = '', rest = ''] = /^(https?:\/\/[^/?#]*)?(.*)$/.exec(to) ?? []
  const question = rest.indexOf('?')
  const filled = rest.replace(targetPlaceholder, (text, name: string, at: number) => {
    const value = captures.get(name)
    if (value === undefined) return text
    return question !== -1 && at > question
      ? encodeURIComponent(value)
      : encodeURI(value).replace(/[?#]/g, encodeURIComponent)
  })
  return origin + filled.replace(/^\/{2,}/, '/')
}

function addQuery(location: string, query: string): string {
  const fragment = location.indexOf('#')
  return fragment === -1 ? location + query : location.slice(0, fragment) + query + location.slice(fragment)
}
