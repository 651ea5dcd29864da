import { readNames } from './barrel-exports.ts'

const longestClause = 50_000

/**
 * Which names a module's import and export statements take from a package, as far as its text tells; more than it takes does no harm. Null: all
 * of it (`import * as`, `export *`), or in a way that is not understood.
 */
export function importedNames(text: string, specifier: string): Set<string> | null {
  const names = new Set<string>()
  let isFound = false
  for (const quote of ['"', "'"]) {
    const quoted = `${quote}${specifier}${quote}`
    for (let at = text.indexOf(quoted); at !== -1; at = text.indexOf(quoted, at + 1)) {
      const before = text.slice(Math.max(0, at - longestClause), at).trimEnd()
      if (/\bimport$/.test(before)) continue
      if (/(\*\/|\/\/[^\n]*)$/.test(before)) return null
      // What is said otherwise is no import statement: import(), require(), some text.
      if (!/[\s}*\w$]from$/.test(before)) continue
      const taken = readClause(before.slice(0, -'from'.length))
      if (!taken) return null
      isFound = true
      for (const name of taken) names.add(name)
    }
  }
  return isFound ? names : null
}

// What stands between `import` or `export` and `from`.
function readClause(before: string): string[] | null {
  const found = [...before.matchAll(/(?<![\w$.])(?:import|export)(?=[\s{*/])/g)].at(-1)
  if (!found) return null
  const isExport = found[0] === 'export'
  const clause = before
    .slice(found.index + found[0].length)
    .replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, ' ')
    .trim()
  if (/^type\s+([\w$]+|\{[^}]*\}|\*\s*as\s+[\w$]+)$/.test(clause)) return []
  const [whole, first, list] = /^(?:([\w$]+)\s*(?:,|$))?\s*(?:\{([^}]*)\})?$/.exec(clause) ?? []
  if (whole === undefined || whole === '' || (isExport && first !== undefined)) return null
  const names = list === undefined ? [] : readNames(list)
  return names && [...(first === undefined ? [] : ['default']), ...names.map(({ imported }) => imported)]
}
