import { isPublicName } from '../registry/env-vars.ts'

const shortestSecret = 8
// Values that are words of every build log; masking them would hide the log and protect nothing.
const plainWords = new Set(['production', 'development', 'localhost', '127.0.0.1'])

/**
 * Returns how to make lines safe to show: every value of at least 8 characters becomes `[name]`, also as base64, URL-encoded or JSON-escaped,
 * and each line of a value with several. Public names (`VITE_…`) are in the bundle for all to read and are left alone.
 */
export function createMask(env: Record<string, string>): (line: string) => string {
  const names = new Map<string, string>()
  for (const [name, value] of Object.entries(env)) {
    if (isPublicName(name)) continue
    for (const form of formsOf(value)) if (form.length >= shortestSecret && !plainWords.has(form)) names.set(form, name)
  }
  if (names.size === 0) return (line) => line
  const longestFirst = [...names.keys()].sort((a, b) => b.length - a.length)
  const pattern = new RegExp(longestFirst.map((form) => RegExp.escape(form)).join('|'), 'g')
  return (line) => line.replace(pattern, (form) => `[${names.get(form)}]`)
}

function formsOf(value: string): string[] {
  const lines = value.split(/\r?\n/)
  const base64 = Buffer.from(value).toString('base64')
  return [
    ...(lines.length > 1 ? lines : [value]),
    base64.replace(/=+$/, ''),
    base64.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''),
    encodeURIComponent(value.toWellFormed()),
    JSON.stringify(value).slice(1, -1),
  ]
}
