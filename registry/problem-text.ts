import { z } from 'zod'

type Issue = z.core.$ZodIssue
type RawIssue = z.core.$ZodRawIssue

/** What was read, and whether its words may be repeated to whoever sent them: of an address yes, of a body not, for they may be a secret. */
export type Given = { value: unknown; isShown: boolean }

/**
 * The one error map: what a schema says of a value when it has no words of its own for that, as the end of a sentence that begins with the
 * field (`must be a whole number from 1 to 200, not "abc"`). For `safeParse(value, { error })`.
 */
export function problemText(given: Given): (issue: RawIssue) => string {
  return (issue) => describe(issue, { value: givenIn(issue, given.value), isShown: given.isShown })
}

/** Every problem with its path below `from`. Of the alternatives of a union those of the one that the value resembles most. */
export function problemsOf({ issues }: { issues: Issue[] }, from: string): string[] {
  const problems = issues.filter((issue) => !isMoot(issue, issues)).flatMap((issue) => problemsOfOne(issue, [from]))
  return [...new Set(problems)]
}

// What is no list has no length either.
function isMoot({ code, path }: Issue, all: Issue[]): boolean {
  const isSame = (other: Issue) => other.path.join('\0') === path.join('\0')
  return code !== 'invalid_type' && all.some((other) => other.code === 'invalid_type' && isSame(other))
}

function problemsOfOne(issue: Issue, above: string[]): string[] {
  const path = [...above, ...issue.path.map(String)]
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const each = issue.errors.map((problems) => problems.flatMap((problem) => problemsOfOne(problem, path)))
    const fewest = Math.min(...each.map(({ length }) => length))
    const likely = each.filter(({ length }) => length === fewest).map((problems) => problems.join(' and '))
    return [[...new Set(likely)].join(', or ')]
  }
  return [`${path.join('.')}: ${issue.message}`]
}

// Text that was to become a number is none by the time that is noticed.
function givenIn({ input, path = [] }: RawIssue, whole: unknown): unknown {
  if (!Number.isNaN(input)) return input
  return path.reduce<unknown>((inside, key) => Object(inside)[key], whole)
}

function describe(issue: RawIssue, given: Given): string {
  if (issue.code === 'invalid_type' && given.value === undefined) return 'is missing'
  if (issue.code === 'invalid_type') return `must be ${nameOfType(issue)}${butIs(given) || ', not text'}`
  if (issue.code === 'invalid_value') return `must be ${either(issue.values.map(String))}${butIs(given)}`
  if (issue.code === 'too_small' || issue.code === 'too_big') return describeSize(issue, given)
  if (issue.code === 'unrecognized_keys') return describeUnknown(issue)
  if (issue.code === 'invalid_format') return `must be ${formats[issue.format] ?? 'written in another way'}`
  if (issue.code === 'invalid_key') return `has a name that ${issue.issues[0]?.message ?? 'is not valid'}`
  if (issue.code === 'not_multiple_of') return `must be a multiple of ${issue.divisor}${butIs(given)}`
  return 'is not valid'
}

const types: Record<string, string> = {
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'an object',
  record: 'an object',
}

const formats: Record<string, string> = {
  base64: 'base64',
  datetime: 'a time such as 2026-11-23T09:14:05Z',
  url: 'an address such as https://example.com',
}

function nameOfType(issue: RawIssue & { expected: string }): string {
  if (issue.expected === 'number' || issue.expected === 'int') return nameOfNumber(issue)
  return types[issue.expected] ?? issue.expected
}

// What a number's schema knows of its bounds; those of whole numbers as such are nobody's.
function nameOfNumber({ schema }: RawIssue): string {
  if (!(schema instanceof z.ZodNumber)) return 'a number'
  const { minValue: low, maxValue: high } = schema
  const noun = schema.isInt ? 'a whole number' : 'a number'
  const isLow = low !== null && low > Number.MIN_SAFE_INTEGER
  const isHigh = high !== null && high < Number.MAX_SAFE_INTEGER
  if (isLow && isHigh) return `${noun} from ${low} to ${high}`
  if (isLow) return `${noun}, ${low} or more`
  return isHigh ? `${noun}, ${high} or less` : noun
}

function describeSize(issue: RawIssue & { code: 'too_small' | 'too_big' }, given: Given): string {
  const bound = issue.code === 'too_small' ? issue.minimum : issue.maximum
  const { origin, code } = issue
  if (origin === 'number' || origin === 'int') return `must be ${nameOfNumber(issue)}${butIs(given)}`
  if (code === 'too_small' && Number(bound) === 1) return 'must not be empty'
  const most = issue.exact ? 'exactly' : code === 'too_small' ? 'at least' : 'at most'
  const length = typeof given.value === 'string' || Array.isArray(given.value) ? `, not ${given.value.length}` : ''
  return `must have ${most} ${bound} ${origin === 'string' ? 'characters' : 'entries'}${length}`
}

function describeUnknown({ keys, schema }: RawIssue & { code: 'unrecognized_keys' }): string {
  const known = Object.keys((schema?._zod.def as { shape?: object } | undefined)?.shape ?? {})
  const takes = known.length > 0 ? `it takes ${known.join(', ')}` : 'it takes nothing'
  return `does not take ${either(keys.slice(0, 5).map(quote))}; ${takes}`
}

function butIs({ value, isShown }: Given): string {
  if (value === null) return ', not null'
  if (Array.isArray(value)) return ', not a list'
  if (typeof value === 'object') return ', not an object'
  if (typeof value !== 'string') return `, not ${String(value)}`
  return isShown ? `, not ${quote(value)}` : ''
}

// Some of it, and nothing that moves in a terminal.
function quote(text: string): string {
  const shown = text.length > 40 ? `${text.slice(0, 39)}…` : text
  return JSON.stringify(shown).replace(/[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/gu, '\ufffd')
}

function either(words: string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}
