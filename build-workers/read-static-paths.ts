// Runs in the sandbox, in the network of the app, with node builtins only: imports the bundle named on the command line and reports the paths
// that its export `staticPaths` lists, as one line of JSON on descriptor 3. What it prints besides is only shown.
import { writeSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const reportDescriptor = 3

try {
  const { staticPaths }: { staticPaths?: unknown } = await import(pathToFileURL(process.argv[2] ?? '').href)
  const listed: unknown = typeof staticPaths === 'function' ? await staticPaths(process.env) : await staticPaths
  if (Array.isArray(listed)) report({ paths: listed.slice(0, 100_001).map(plain), count: listed.length })
  else report({ error: `it must be a list of paths, or a function that gives one, not ${kindOf(listed)}` })
} catch (thrown) {
  report({
    error: thrown instanceof Error ? `it threw ${thrown.name}: ${thrown.message}` : `it threw ${String(thrown)}`,
  })
}
process.exit(0)

function plain(path: unknown): unknown {
  return typeof path === 'string' ? path.slice(0, 2000) : { not: kindOf(path) }
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function report(message: object): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`)
  for (let at = 0; at < bytes.length; ) at += writeSync(reportDescriptor, bytes, at)
}
