import { withoutControls } from '../registry/build-logs.ts'
import { secretForms } from './secret-forms.ts'

/** How much of a secret has to stand at the end of a line for the next line to be waited for. */
const shortestBeginning = 4
/** By so much of it a long secret is found; an app may have megabytes of them. */
const longestHead = 128
const waitMs = 1000
const mostHeld = 1000

type Secret = { form: string; name: string }
type Found = { start: number; end: number; name: string; isWhole: boolean }

/** Hides the values of an app's variables in what is shown: each of its `secretForms` becomes `[name]`, also as much of it as a line was cut to. */
export class Mask {
  readonly #secrets = new Map<string, Secret[]>()
  #pattern: RegExp | null = null
  // The beginnings of heads by their last characters: most lines end with none of them.
  readonly #beginnings = new Map<string, { head: string; length: number }[]>()

  constructor(env: Record<string, string>) {
    this.hide(env)
  }

  /** From now on these too, also in what is on its way through it. */
  hide(env: Record<string, string>): void {
    for (const [form, name] of secretForms(env)) {
      const head = form.slice(0, longestHead)
      this.#secrets.set(head, [...(this.#secrets.get(head) ?? []), { form, name }])
    }
    const heads = [...this.#secrets.keys()].sort((a, b) => b.length - a.length)
    this.#beginnings.clear()
    this.#pattern = heads.length > 0 ? new RegExp(heads.map((head) => RegExp.escape(head)).join('|'), 'g') : null
    for (const head of heads)
      for (let length = shortestBeginning; length < head.length; length++) {
        const key = head.slice(length - shortestBeginning, length)
        const known = this.#beginnings.get(key)
        if (known) known.push({ head, length })
        else this.#beginnings.set(key, [{ head, length }])
      }
  }

  /** A line without secrets and without control characters, for a secret with a NUL in it would be whole again when that is taken out. */
  line(text: string): string {
    return this.lines([text])[0] ?? ''
  }

  /** The lines of a text, without colours too. */
  text(text: string): string[] {
    return this.lines(text.split('\n')).map(withoutColours)
  }

  /** The same of lines in a row, in which a secret may go on from one to the next. Of a line with a secret in it the colours go too. */
  lines(texts: string[]): string[] {
    const clean = texts.map(withoutControls)
    const plain = clean.map(withoutColours)
    const found = this.#find(plain.join(''))
    if (found.length === 0) return clean
    let start = 0
    return plain.map((text, index) => {
      const own = { start, end: start + text.length }
      start = own.end
      const inside = found.filter((one) => one.start < own.end && one.end > own.start)
      return inside.length === 0 ? (clean[index] ?? '') : cover(text, own.start, inside)
    })
  }

  /** The lines of one stream as they come; one that may end within a secret waits for the next, or a second. */
  stream(show: (line: string) => void): MaskedStream {
    return new MaskedStream(this, show)
  }

  /** Whether these lines end with what may be the beginning of a secret. */
  mayGoOn(texts: string[]): boolean {
    const text = texts.map((line) => withoutColours(withoutControls(line))).join('')
    const candidates = this.#beginnings.get(text.slice(-shortestBeginning)) ?? []
    if (candidates.some(({ head, length }) => text.endsWith(head.slice(0, length)))) return true
    const last = text.length > longestHead ? this.#find(text).at(-1) : undefined
    return last !== undefined && last.end === text.length && !last.isWhole
  }

  #find(text: string): Found[] {
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

function cover(text: string, offset: number, found: Found[]): string {
  let shown = ''
  let at = 0
  for (const { start, end, name } of found) {
    shown += `${text.slice(at, Math.max(at, start - offset))}[${name}]`
    at = end - offset
  }
  return shown + text.slice(at)
}

function withoutColours(text: string): string {
  return text.includes('\x1b') ? text.replaceAll(/\x1b\[[0-9;]*m/g, '') : text
}

/** Lines of one stream on their way through a mask. */
class MaskedStream {
  readonly #mask: Mask
  readonly #show: (line: string) => void
  #held: string[] = []
  #timer: NodeJS.Timeout | null = null

  constructor(mask: Mask, show: (line: string) => void) {
    this.#mask = mask
    this.#show = show
  }

  push(line: string): void {
    const lines = [...this.#held, line]
    if (lines.length <= mostHeld && this.#mask.mayGoOn(lines)) {
      this.#held = lines
      this.#timer ??= setTimeout(() => this.end(), waitMs)
      return
    }
    this.#held = lines
    this.end()
  }

  /** Shows what waits. */
  end(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    const lines = this.#held
    this.#held = []
    for (const text of this.#mask.lines(lines)) this.#show(text)
  }
}
