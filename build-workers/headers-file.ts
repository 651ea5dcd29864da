import { AppError, messageOf } from '../registry/errors.ts'
import { PathPattern } from '../registry/path-pattern.ts'
import { type HeaderRule, mostHeaderRules } from '../registry/site-rules.ts'
import { type LeftOut, lineProblem, type RuleLine, ruleLines } from './rule-lines.ts'

const mostHeaders = 100
const longestValue = 2000

/**
 * Reads `_headers`, as Netlify and Cloudflare Pages have it: a path, and below it `Name: value` lines, or `! Name` for one that an earlier rule
 * has set. A line that cannot be kept is left out and told of. Throws OUTPUT_INVALID for a file that is no such thing.
 */
export function readHeadersFile(bytes: Buffer): { rules: HeaderRule[]; leftOut: LeftOut[] } {
  const rules: HeaderRule[] = []
  const leftOut: LeftOut[] = []
  let rule: HeaderRule | null = null
  for (const line of ruleLines('_headers', bytes)) {
    try {
      const problem = lineProblem(line)
      if (problem) throw new Error(problem)
      if (/^(\/|https?:)/i.test(line.text)) {
        rule = null
        rule = startRule(line)
        rules.push(rule)
      } else if (rule) addHeader(rule, line)
      else throw new Error('no path stands above it')
    } catch (thrown) {
      leftOut.push({ line: line.line, why: messageOf(thrown) })
    }
    if (rules.length > mostHeaderRules)
      throw new AppError(
        'OUTPUT_INVALID',
        `_headers holds more than ${mostHeaderRules} rules; put them together with * and :name`,
      )
  }
  return { rules: rules.filter(({ set, unset }) => set.length + unset.length > 0), leftOut }
}

function startRule({ text }: RuleLine): HeaderRule {
  if (!text.startsWith('/')) throw new Error('rules for one host are not supported: write the path alone')
  return { path: new PathPattern(text) && text, set: [], unset: [] }
}

function addHeader(rule: HeaderRule, { text }: RuleLine): void {
  if (rule.set.length + rule.unset.length >= mostHeaders) throw new Error(`a rule sets ${mostHeaders} headers at most`)
  if (text.startsWith('!')) {
    rule.unset.push(headerName(text.slice(1).trim()))
    return
  }
  const colon = text.indexOf(':')
  if (colon < 1) throw new Error('it is neither a path nor `Name: value`')
  const name = headerName(text.slice(0, colon).trim())
  const value = text.slice(colon + 1).trim()
  const reason = refusal(name.toLowerCase(), value)
  if (reason) throw new Error(`${name} ${reason}`)
  rule.set.push([name, value])
}

function headerName(name: string): string {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/.test(name)) return name
  throw new Error(`${JSON.stringify(name.slice(0, 50))} is no header name`)
}

const framing = [
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  ...['content-length', 'content-encoding', 'content-range', 'accept-ranges', 'http2-settings'],
]
const ours = ['etag', 'date', 'age', 'last-modified', 'via', 'server']

// Why a header may not be set; null: it may.
function refusal(name: string, value: string): string | null {
  if (framing.includes(name)) return 'says how the response is sent, which the platform does'
  if (ours.includes(name) || name.startsWith('x-atelier-')) return 'is set by the platform'
  if (name.startsWith('proxy-')) return 'is between a client and its proxy'
  if (name === 'basic-auth') return 'would tell everybody the password: it is not supported as a lock'
  if (name === 'set-cookie' && /;\s*domain\s*=/i.test(value))
    return 'with a Domain would reach other apps: leave Domain out'
  if (value.length > longestValue) return `has a value longer than ${longestValue} characters`
  return /^[\t\x20-\x7e]*$/.test(value) ? null : 'has a value that is not plain ASCII'
}
