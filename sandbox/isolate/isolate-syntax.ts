// Finds the file of a syntax error that names none: V8 reports that of an ES module without its place to a thread.
// Node builtins only.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const mostFiles = 40

/** What `node --check` says of the first broken file among the entry and the files it imports by relative paths, else null. */
export function findSyntaxError(entry: string): string | null {
  const files = [entry]
  for (let index = 0; index < files.length && index < mostFiles; index++) {
    const file = files[index] ?? entry
    const { status, stderr } = spawnSync(process.execPath, ['--check', file], {
      encoding: 'utf8',
      env: {},
      timeout: 5000,
    })
    if (status !== 0 && /SyntaxError/.test(stderr)) return stderr.split(/^\s+at /m, 1)[0]?.trimEnd() ?? null
    for (const imported of importsOf(file)) if (!files.includes(imported)) files.push(imported)
  }
  return null
}

function importsOf(file: string): string[] {
  const require = createRequire(file)
  return [...readText(file).matchAll(/(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g)].flatMap(([, path = '']) => {
    try {
      return [require.resolve(path)]
    } catch (error) {
      if (error instanceof Error) return []
      throw error
    }
  })
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error) return ''
    throw error
  }
}
