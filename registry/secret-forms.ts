import { withoutControls } from './build-logs.ts'
import { isPublicName } from './env-vars.ts'

const shortestSecret = 8
const largestWithAllForms = 8192
// Of all values of an app together: what looks for them takes longer with each, also to be made when the app starts.
const mostLines = 5_000
// Values that are words of every build log; masking them would hide the log and protect nothing.
const plainWords = new Set(['production', 'development', 'localhost', '127.0.0.1'])

/**
 * Every way in which the values of these variables might be printed, with the variable's name: as they are, each line of a value with several, as
 * base64 (also in the middle of something longer, as in `user:secret`), URL-encoded, JSON-escaped, as hex; of a URL also its password. Shorter than 8 characters: none, for such a
 * value is a part of other words. Beyond 5,000 lines the values of an app are known as a whole only. Public names (`VITE_…`) are in the bundle for all to read.
 */
export function secretForms(env: Record<string, string>): Map<string, string> {
  const names = new Map<string, string>()
  const secrets = Object.entries(env).filter(([name, value]) => !isPublicName(name) && value.length >= shortestSecret)
  // A password that is a variable of its own is called by that.
  const passwords = secrets.flatMap(([name, value]) => passwordOf(value).map((password) => [name, password] as const))
  // As they are once a line is clean: a tab is two spaces in it, and what stands at its edge is gone.
  let linesLeft = mostLines
  for (const [name, value] of [...secrets, ...passwords]) {
    const lines = linesOf(value)
    linesLeft -= lines.length
    for (const form of formsOf(value, lines, linesLeft >= 0).map((one) => withoutControls(one).trim()))
      if (form.length >= shortestSecret && !plainWords.has(form) && !names.has(form)) names.set(form, name)
  }
  return names
}

// What is secret in the address of a database is seldom printed with the rest of it.
function passwordOf(value: string): string[] {
  const password = URL.parse(value)?.password
  // Unlike decodeURIComponent this takes an escape that is none as it stands.
  const decoded = new URLSearchParams(`p=${password?.replaceAll('+', '%2B')}`).get('p')
  return password ? [password, decoded ?? password] : []
}

function linesOf(value: string): string[] {
  return value.split(/\r?\n/)
}

function formsOf(value: string, lines: string[], isByLine: boolean): string[] {
  if (lines.length === 1 && plainWords.has(value)) return []
  const base64 = Buffer.from(value).toString('base64').replace(/=+$/, '')
  const forms = [
    // A value with several lines: each of them, and all in a row, for short ones are hidden only where the others are.
    ...(lines.length > 1
      ? [
          ...(isByLine ? lines.map((line) => line.trim()) : []),
          lines.map((line) => line.trimEnd()).join(''),
          lines.map((line) => line.trim()).join(''),
        ]
      : [value]),
    base64,
    JSON.stringify(value).slice(1, -1),
  ]
  // A dozen forms of megabytes are too much to hold, and nobody has a file of that size in a password.
  if (value.length > largestWithAllForms) return forms
  const url = encodeURIComponent(value.toWellFormed())
  return [
    ...forms,
    ...[0, 1, 2].flatMap((offset) => base64Within(value, offset)),
    Buffer.from(value).toString('base64url'),
    Buffer.from(value).toString('hex'),
    ...[url, url.replace(/%../g, (code) => code.toLowerCase()), url.replaceAll('%20', '+')],
  ]
}

// base64 writes three bytes as four characters, so a value looks different with one or two bytes before it. Only the characters that no neighbour
// has a part in.
function base64Within(value: string, offset: number): string[] {
  const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(value)])
  const own = (text: string) => text.slice(Math.ceil((offset * 8) / 6), Math.floor((bytes.length * 8) / 6))
  return [own(bytes.toString('base64')), own(bytes.toString('base64url'))]
}
