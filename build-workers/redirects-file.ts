import { AppError, messageOf } from '../registry/errors.ts'
import { PathPattern } from '../registry/path-pattern.ts'
import { mostPatterns, mostRedirects, type RedirectRule, targetPlaceholder } from '../registry/site-rules.ts'
import { type LeftOut, lineProblem, ruleLines } from './rule-lines.ts'

// Netlify's default is 301, Cloudflare's 302. A browser keeps a 301 for good, so the one that can be taken back.
const defaultStatus = 302
const statuses = [200, 301, 302, 303, 307, 308, 404] as const

export type ReadRedirect = RedirectRule & { line: number }

/**
 * Reads `_redirects`, as Netlify and Cloudflare Pages have it: `from to [status][!]` a line. A line that cannot be kept is left out and told of.
 * Throws OUTPUT_INVALID for a file that is no such thing.
 */
export function readRedirectsFile(bytes: Buffer): { rules: ReadRedirect[]; leftOut: LeftOut[] } {
  const rules: ReadRedirect[] = []
  const leftOut: LeftOut[] = []
  const plain = new Map<string, number>()
  let patterns = 0
  for (const line of ruleLines('_redirects', bytes)) {
    try {
      const problem = lineProblem(line)
      if (problem) throw new Error(problem)
      const { rule, pattern } = readRule(line.text)
      const earlier = pattern.isPlain ? plain.get(pattern.plain) : undefined
      if (earlier !== undefined) throw new Error(`${rule.from} has its rule in line ${earlier}`)
      if (pattern.isPlain) plain.set(pattern.plain, line.line)
      else patterns++
      rules.push({ ...rule, line: line.line })
    } catch (thrown) {
      leftOut.push({ line: line.line, why: messageOf(thrown) })
    }
    if (rules.length > mostRedirects)
      throw new AppError(
        'OUTPUT_INVALID',
        `_redirects holds more than ${mostRedirects} rules; put them together with * and :name`,
      )
    if (patterns > mostPatterns)
      throw new AppError('OUTPUT_INVALID', `_redirects holds more than ${mostPatterns} rules with * or :name`)
  }
  return { rules, leftOut }
}

function readRule(text: string): { rule: RedirectRule; pattern: PathPattern } {
  const [from = '', ...words] = text
    .replace(/\s#.*$/, '')
    .trim()
    .split(/\s+/)
  if (/^https?:/i.test(from)) throw new Error('rules for one host are not supported: write the path alone')
  const pattern = new PathPattern(from)
  const [to, status = String(defaultStatus), ...rest] = words
  if (to === undefined) throw new Error('it does not say where to: from, to, status')
  if (/^[^/:]+=/.test(to)) throw new Error(`matching the query (${to}) is not supported`)
  const code = readStatus(status)
  if (rest.length > 0) throw new Error(`conditions (${rest.join(' ')}) are not supported`)
  const target = readTarget(to, pattern)
  if (code.answersHere && !target.startsWith('/'))
    throw new Error(`${code.status} answers with a file of this site; to send people elsewhere use 302`)
  if (pattern.isPlain && target === from && !code.answersHere) throw new Error('it leads to itself')
  return { rule: { from, to: target, status: code.status, force: code.force }, pattern }
}

function readStatus(word: string): { status: RedirectRule['status']; force: boolean; answersHere: boolean } {
  const [, digits, force] = /^(\d{3})(!?)$/.exec(word) ?? []
  if (digits === undefined) throw new Error(`${word} is no status: conditions and the like are not supported`)
  const status = statuses.find((known) => String(known) === digits)
  if (status === undefined) throw new Error(`the status ${digits} is not one of ${statuses.join(', ')}`)
  return { status, force: force === '!', answersHere: status === 200 || status === 404 }
}

// Nothing that a visitor sends may choose the host that he is sent to: captures stand behind it.
function readTarget(to: string, pattern: PathPattern): string {
  if (/^\/\/|^\/\\|\\/.test(to)) throw new Error('a target is a path, or a URL with https://')
  const [, origin = '', rest = ''] = /^(https?:\/\/[^/?#]*)?(.*)$/i.exec(to) ?? []
  if (origin === '' && !rest.startsWith('/')) throw new Error('a target is a path, or a URL with https://')
  if (/:[A-Za-z]|[@*]/.test(origin.replace(/^https?:/i, '')))
    throw new Error('the host of a target is written out: no placeholder, no user')
  if (origin !== '' && !URL.canParse(origin)) throw new Error(`${origin} is no URL`)
  if (rest.includes('*')) throw new Error('a target names what * stands for as :splat')
  for (const [, name = ''] of rest.matchAll(targetPlaceholder))
    if (!pattern.names.includes(name))
      throw new Error(
        `:${name} is not in ${pattern.names.length > 0 ? 'the path before it' : 'a path without placeholders'}`,
      )
  const slash = origin !== '' && !rest.startsWith('/') ? '/' : ''
  // What is encoded stays as it is.
  const written = encodeURI(slash + rest).replace(/%25([0-9a-f]{2})/gi, '%$1')
  if (!canDecode(written)) throw new Error('a target is encoded in UTF-8')
  return origin.toLowerCase() + written
}

function canDecode(text: string): boolean {
  try {
    return decodeURI(text) !== ''
  } catch (thrown) {
    if (thrown instanceof URIError) return false
    throw thrown
  }
}
