import { AppError } from '../registry/errors.ts'

/** A line that is left out, and why: `_redirects line 3: …`. */
export type LeftOut = { line: number; why: string }
export type RuleLine = { line: number; text: string }

const longestLine = 4000

/** The lines of a rules file that say something, numbered as an editor does. Throws OUTPUT_INVALID when it is no text. */
export function ruleLines(file: string, bytes: Buffer): RuleLine[] {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (thrown) {
    throw new AppError('OUTPUT_INVALID', `${file} is not text in UTF-8`, { cause: thrown })
  }
  return text
    .split(/\r\n|\n|\r/)
    .map((line, index) => ({ line: index + 1, text: line.trim() }))
    .filter(({ text }) => text !== '' && !text.startsWith('#'))
}

/** Why a line cannot be read at all; null: it can. */
export function lineProblem({ text }: RuleLine): string | null {
  if (text.length > longestLine) return `it is longer than ${longestLine} characters`
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) return 'it holds a control character'
  return null
}
