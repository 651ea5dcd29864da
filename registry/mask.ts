import { withoutControls } from './build-logs.ts'
import { FourLetters } from './four-letters.ts'
import { secretForms } from './secret-forms.ts'

/** How much of a secret has to stand at the end of a line for the next line to be waited for. */
const shortestBeginning = 4
/** By so much of it a long secret is found; an app may have megabytes of them. */
const longestHead = 128

export type Secret = { form: string; name: string }
/** What of a text is a secret's; `isWhole`: all of that secret stands there. */
export type Found = { start: number; end: number; name: string; isWhole: boolean }
/** A line without control characters, and the same without colours, in which secrets are looked for. */
export type Cleaned = { clean: string; plain: string }

/**
 * Hides the values of an app's variables in what is shown: each of its `secretForms` becomes `[name]`, also as much of it as a line was cut to. What an app or its
 * commands print goes through one before it is kept anywhere.
 */
export class Mask {
  readonly #secrets = new Map<string, Secret[]>()
  #pattern: RegExp | null = null
  readonly #heads = new Map<string, string[]>()
  /** What stands before a place at which a head may be cut: most lines end with none of it. And what heads begin with, by which `#heads` has them. */
  readonly #cuts = new FourLetters()
  readonly #firsts = new FourLetters()

  constructor(env: Record<string, string>) {
    this.hide(env)
  }

  /** From now on these too, also in what is on its way through it. */
  hide(env: Record<string, string>): void {
    for (const [form, name] of secretForms(env)) {
      const head = form.slice(0, longestHead)
      const known = this.#secrets.get(head)
      if (known) known.push({ form, name })
      else this.#add(head, { form, name })
    }
    const heads = [...this.#secrets.keys()].sort((a, b) => b.length - a.length)
    this.#pattern = heads.length > 0 ? new RegExp(heads.map((head) => RegExp.escape(head)).join('|'), 'g') : null
  }

  /** A line without secrets and without control characters, for a secret with a NUL in it would be whole again when that is taken out. */
  line(text: string): string {
    return this.lines([text])[0] ?? ''
  }

  /** The lines of a text, without colours too; what they are indented by is not taken for a part of what goes on over several. */
  text(text: string): string[] {
    const given = text.split('\n').map((line) => /^(\s*)(.*)$/s.exec(line) ?? [line, '', line])
    const shown = this.lines(given.map(([, , line = '']) => line))
    return shown.map((line, index) => withoutColours(`${given[index]?.[1] ?? ''}${line}`))
  }

  /** The same of lines in a row, in which a secret may go on from one to the next. Of a line with a secret in it the colours go too. */
  lines(texts: string[]): string[] {
    const cleaned = texts.map(cleanedOf)
    const found = this.find(cleaned.map(({ plain }) => plain).join(''))
    let at = 0
    return cleaned.map(({ clean, plain }) => {
      const own = { start: at, end: at + plain.length }
      at = own.end
      const inside = found.filter((one) => one.start < own.end && one.end > own.start)
      return inside.length === 0 ? clean : cover(plain, own.start, inside)
    })
  }

  /** Where secrets stand in a text without colours, in their order. */
  find(text: string): Found[] {
    const found: Found[] = []
    const pattern = this.#pattern
    if (!pattern) return found
    pattern.lastIndex = 0
    for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
      const one = longestAt(text, match.index, this.#secrets.get(match[0]) ?? [])
      found.push(one)
      pattern.lastIndex = one.end
    }
    return found
  }

  /** Where what may be the beginning of a secret stands at the end of a text; its length: nowhere. */
  openAt(text: string, found: Found[]): number {
    if (text.length < shortestBeginning || !this.#cuts.mayHave(text, text.length)) return text.length
    for (let at = Math.max(0, text.length - longestHead + 1); at <= text.length - shortestBeginning; at++) {
      if (!this.#firsts.mayHave(text, at + shortestBeginning)) continue
      const heads = this.#heads.get(text.slice(at, at + shortestBeginning)) ?? []
      const length = text.length - at
      if (!heads.some((head) => head.length > length && head.startsWith(text.slice(at)))) continue
      return Math.min(at, found.find((one) => one.start <= at && at < one.end)?.start ?? at)
    }
    return text.length
  }

  /** The secrets of which the end of a text is a part that was found and is not the whole. */
  goingOn(text: string, found: Found[]): Secret[] {
    const last = found.at(-1)
    if (!last || last.end < text.length || last.isWhole) return []
    const part = text.slice(last.start)
    const secrets = this.#secrets.get(part.slice(0, longestHead)) ?? []
    return secrets.filter(({ form }) => form.length > part.length && form.startsWith(part))
  }

  #add(head: string, secret: Secret): void {
    this.#secrets.set(head, [secret])
    const first = head.slice(0, shortestBeginning)
    this.#heads.set(first, [...(this.#heads.get(first) ?? []), head])
    this.#firsts.add(head, shortestBeginning)
    for (let length = shortestBeginning; length < head.length; length++) this.#cuts.add(head, length)
  }
}

export function cleanedOf(text: string): Cleaned {
  const clean = withoutControls(text)
  return { clean, plain: withoutColours(clean) }
}

/** A part of a text, which begins at `offset` of the whole, with the names of what was found in it. */
export function cover(text: string, offset: number, found: Found[]): string {
  let shown = ''
  let at = 0
  for (const { start, end, name } of found) {
    shown += `${text.slice(at, Math.max(at, start - offset))}[${name}]`
    at = end - offset
  }
  return shown + text.slice(at)
}

// As much of a secret as stands there: the whole of it, or what a cut has left.
function longestAt(text: string, start: number, secrets: Secret[]): Found {
  let longest: Found = { start, end: start, name: '', isWhole: false }
  for (const { form, name } of secrets) {
    const most = Math.min(form.length, text.length - start)
    let length = Math.min(longestHead, most)
    while (length < most && form[length] === text[start + length]) length += 1
    if (start + length > longest.end) longest = { start, end: start + length, name, isWhole: length === form.length }
  }
  return longest
}

function withoutColours(text: string): string {
  return text.includes('\x1b') ? text.replaceAll(/\x1b\[[0-9;]*m/g, '') : text
}
