import { Failure } from './failure.ts'

/**
 * The variables of a .env file. Lines are `NAME=value` or `export NAME=value`; what is not is refused with the number of its line, for a variable that is
 * silently missing is found out late. As the dotenv of most languages has it: `#` begins a comment unless it is quoted; in '…' and `…`
 * everything is as it is, in "…" \n, \r, \t, \" and \\ mean what they mean elsewhere; quoted values may span lines. A value is never read as
 * another's ($OTHER). The last of a name counts.
 */
export function parseDotenv(text: string, { path }: { path: string }): Record<string, string> {
  const rest = text.replace(/^\uFEFF/, '').replace(/\r\n?/g, '\n')
  const values: [string, string][] = []
  const pattern = new RegExp(assignment, 'gy')
  for (let at = 0; at < rest.length; at = pattern.lastIndex) {
    pattern.lastIndex = at
    const match = pattern.exec(rest)
    if (!match) throw notUnderstood(rest, at, path)
    const { name, single, double, back, bare = '' } = match.groups ?? {}
    if (name !== undefined)
      values.push([name, single ?? back ?? (double === undefined ? bare : withoutEscapes(double))])
  }
  return Object.fromEntries(values)
}

const comment = String.raw`[ \t]*(?:#[^\n]*)?(?:\n|$)`
const value = String.raw`(?:'(?<single>[^']*)'|"(?<double>(?:[^"\\]|\\[\s\S])*)"|${'`(?<back>[^`]*)`'}|(?<bare>(?:[^\s#'"${'`'}](?:[^\n#]*[^\s#])?)?))`
const assignment = String.raw`(?:[ \t]*(?:export[ \t]+)?(?<name>[\w.-]+)[ \t]*=[ \t]*${value})?${comment}`

const escapes: Record<string, string> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\' }

function withoutEscapes(text: string): string {
  return text.replace(/\\([\s\S])/g, (whole, letter: string) => escapes[letter] ?? whole)
}

function notUnderstood(text: string, at: number, path: string): Failure {
  const number = text.slice(0, at).split('\n').length
  const [line = ''] = text.slice(at).split('\n')
  const isOpen = /=[ \t]*['"`]/.test(line)
  // Not the line itself: it may hold a secret, and this ends up in the logs of whoever runs it.
  const what = isOpen ? 'begins a quoted value that does not end as one' : 'is not NAME=value'
  return new Failure(`${path}: line ${number} ${what}; nothing was set`)
}
