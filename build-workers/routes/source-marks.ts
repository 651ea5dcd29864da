import type { RouteMethod } from '../../registry/route-list.ts'
import { routeMethods } from '../../registry/route-list.ts'

// What a file says of itself, by its text: marks for people, which decide nothing. Code is not run to read them.

/** Names that a module exports, as far as they are written plainly: `export const prerender`, `export { GET, POST as PUT }`. */
export function exportedNames(code: string): Set<string> {
  const names = new Set<string>()
  const plain = withoutComments(code)
  for (const [, name = ''] of plain.matchAll(
    /^[ \t]*export\s+(?:declare\s+)?(?:async\s+)?(?:const|let|var|function\*?|class)\s+([A-Za-z_$][\w$]*)/gm,
  ))
    names.add(name)
  for (const [, list = ''] of plain.matchAll(/^[ \t]*export\s*\{([^{}]{0,2000})\}/gm))
    for (const item of list.split(',')) {
      const name = /(?:^|\s)([A-Za-z_$][\w$]*)\s*$/.exec(item)?.[1]
      if (name) names.add(name)
    }
  if (/^[ \t]*export\s+default\b/m.test(plain)) names.add('default')
  return names
}

export function methodsOf(names: Set<string>): RouteMethod[] {
  return routeMethods.filter((method) => names.has(method))
}

/** The value of `export const prerender = true`, when it is a plain true, false or text; null: it is not there, or anything else. */
export function exportedValue(code: string, name: 'prerender' | 'revalidate'): string | null {
  const found = withoutComments(code).match(
    /^[ \t]*export\s+const\s+(\w+)(?:\s*:\s*[\w| '"]{1,60})?\s*=\s*([\w'"]{1,20})/gm,
  )
  for (const line of found ?? []) {
    const [, key, value] = /const\s+(\w+)[^=]*=\s*(\S+)$/.exec(line) ?? []
    if (key === name) return value?.replace(/['"]/g, '') ?? null
  }
  return null
}

/** `"use cache"` at the top of a file or of a function in it. */
export function usesCache(code: string): boolean {
  return /^[ \t]*(['"])use cache(?:: ?\w{1,40})?\1[ \t]{0,20};?[ \t]{0,20}\r?$/m.test(withoutComments(code))
}

/** The title of a page's metadata, or of its HTML, when it is plain text. */
export function plainTitle(code: string): string | null {
  const element = /<title>([^<{}]{1,200})<\/title>/i.exec(code)?.[1]
  const written =
    element ?? /\bmetadata\b[^=\n]{0,60}=\s*\{[^{}]{0,500}?\btitle\s*:\s*(['"])([^'"\\\n]{1,200})\1/.exec(code)?.[2]
  return written?.replace(/\s+/g, ' ').trim() || null
}

// As text: a comment that a string holds goes as well. No expression finds their ends, which would look through the whole rest at each
// beginning.
function withoutComments(code: string): string {
  const kept: string[] = []
  let at = 0
  for (let begin = code.indexOf('/*'); begin >= 0; begin = code.indexOf('/*', at)) {
    kept.push(code.slice(at, begin))
    const end = code.indexOf('*/', begin + 2)
    at = end < 0 ? code.length : end + 2
  }
  return [...kept, code.slice(at)].join('').replace(/^[ \t]*\/\/.*$/gm, '')
}
