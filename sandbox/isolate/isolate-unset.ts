// Names the environment variables behind an error that does not. Node builtins only.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const frame = /^\s+at (?:.*\()?(?:async )?((?:file:\/\/)?\/[^:()]+):(\d+):(\d+)\)?$/m
const variable = /\bprocess\.env(?:\.([A-Za-z_]\w*)|\[['"]([A-Za-z_]\w*)['"]\])/g

/** Variables that the source around the first frame of a stack reads and that are not set: `new URL(process.env.DATABASE_URL)`. */
export function unsetVariables(stack: string): string[] {
  for (const line of stack.split('\n')) {
    const [, file = '', row = '', column = ''] = frame.exec(line) ?? []
    if (!file || /\/runtime\/scripts-/.test(file)) continue
    const text = sourceAround(file.startsWith('file:') ? fileURLToPath(file) : file, Number(row), Number(column))
    const names = [...text.matchAll(variable)].map(([, dotted, quoted]) => dotted ?? quoted ?? '')
    return [...new Set(names)].filter((name) => !process.env[name])
  }
  return []
}

// The line, or in a bundle that is one line, the 200 characters around the place.
function sourceAround(file: string, row: number, column: number): string {
  try {
    const line = readFileSync(file, 'utf8').split('\n')[row - 1] ?? ''
    return line.slice(Math.max(0, column - 200), column + 200)
  } catch (error) {
    if (error instanceof Error) return ''
    throw error
  }
}
