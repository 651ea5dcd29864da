// Runs in the sandbox, with node builtins only: imports the config file named on the command line and reports what it exports, as one
// line of JSON on descriptor 3. What it prints besides is only shown.
import { writeSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

const reportDescriptor = 3
// The config is read before dependencies are installed, so the one import that is for its types alone must not need them.
const ownPackage =
  'data:text/javascript,export const defineConfig = (config) => config; export default { defineConfig }'

registerHooks({
  resolve: (specifier, context, next) =>
    specifier.startsWith('@atelier/platform') ? { url: ownPackage, shortCircuit: true } : next(specifier, context),
})

const problems: string[] = []
try {
  const loaded: { default?: unknown } = await import(pathToFileURL(process.argv[2] ?? '').href)
  const exported = await loaded.default
  if (!('default' in loaded)) report({ error: 'it has no default export; write: export default { … }' })
  else report({ config: plain(exported, ''), problems })
} catch (thrown) {
  report({ error: describe(thrown) })
}
process.exit(0)

function report(message: object): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`)
  for (let at = 0; at < bytes.length; ) at += writeSync(reportDescriptor, bytes, at)
}

// JSON has no words for functions, dates and the like: each is named with its path and left out.
function plain(value: unknown, path: string, above: object[] = []): unknown {
  if (value === null || value === undefined || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (typeof value !== 'object')
    return unreadable(path, typeof value === 'number' ? String(value) : `a ${typeof value}`)
  if (above.includes(value) || above.length > 20) return unreadable(path, 'a cycle')
  const inside = [...above, value]
  if (Array.isArray(value)) return value.map((item, at) => plain(item, `${path}[${at}]`, inside))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return unreadable(path, `a ${value.constructor.name}`)
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, plain(item, path ? `${path}.${key}` : key, inside)]),
  )
}

function unreadable(path: string, what: string): undefined {
  problems.push(`${path || 'the config'}: must be a plain value, not ${what}`)
  return undefined
}

function describe(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `it threw ${String(thrown)}`
  const code = 'code' in thrown ? thrown.code : undefined
  const missing = code === 'ERR_MODULE_NOT_FOUND' && /Cannot find package '([^']+)'/.exec(thrown.message)?.[1]
  if (missing)
    return `it imports ${missing}; it is read before dependencies are installed, and may import only its own files and node:`
  const directory = pathToFileURL(process.cwd()).href
  const own = `${thrown.stack ?? ''}`
    .split('\n')
    .find((line) => line.includes(directory) || line.includes(`${process.cwd()}/`))
  const place = own ? /([^/\s(]+:\d+(:\d+)?)\)?$/.exec(own)?.[1] : undefined
  return `it threw ${thrown.name}: ${thrown.message.split('\n')[0]}${place ? ` (${place})` : ''}`
}
