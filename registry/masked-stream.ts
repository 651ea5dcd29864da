import { type Cleaned, cleanedOf, cover, type Found, type Mask, type Secret } from './mask.ts'

const waitMs = 1000
/** What may be a secret's beginning is shorter, unless lines are blank. */
const mostHeld = 200

/** A line that is not all known yet: what of it may be shown in any case, and the rest. */
type Held = Pick<Cleaned, 'clean'> & { before: string; rest: string; hasSecret: boolean }
/** A long secret of which a beginning has been seen, and how much. */
type Going = { secrets: Secret[]; length: number }

/**
 * Lines of one stream on their way through a mask; one that may end within a secret waits for the next, or a second. No more is held than what may be the beginning of a secret, and each character is looked at a few times
 * at most, whatever an app prints.
 */
export class MaskedStream {
  readonly #mask: Mask
  readonly #show: (line: string) => void
  #held: Held[] = []
  #going: Going | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(mask: Mask, show: (line: string) => void) {
    this.#mask = mask
    this.#show = show
  }

  push(line: string): void {
    const { clean, plain } = cleanedOf(line)
    const covered = this.#going === null ? null : this.#goOn(this.#going, plain)
    const rest = covered ? plain.slice(covered.length) : plain
    if (covered && rest === '') {
      this.#show(covered.shown)
      return
    }
    const last = { clean, before: covered?.shown ?? '', rest, hasSecret: covered !== null }
    this.#take(this.#held.length === 0 ? [last] : [...this.#held, last])
  }

  /** Shows what waits. */
  end(): void {
    const lines = this.#held
    const text = textOf(lines)
    this.#part(lines, this.#mask.find(text), text.length)
  }

  #take(lines: Held[]): void {
    const text = textOf(lines)
    const found = this.#mask.find(text)
    const secrets = found.length > 0 ? this.#mask.goingOn(text, found) : []
    this.#going = secrets.length > 0 ? { secrets, length: text.length - (found.at(-1)?.start ?? 0) } : null
    const open = this.#going || lines.length > mostHeld ? text.length : this.#mask.openAt(text, found)
    this.#part(lines, found, open)
  }

  // Shows the lines that end before `open`, and keeps the others.
  #part(lines: Held[], found: Found[], open: number): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    this.#held = []
    let start = 0
    for (const line of lines) {
      const end = start + line.rest.length
      const inside = found.filter((one) => one.start < end && one.end > start && one.end <= open)
      if (end <= open) this.#show(shownOf(line, start, inside))
      else this.#held.push(start < open ? partOf(line, start, { inside, open }) : line)
      start = end
    }
    if (this.#held.length > 0) this.#timer = setTimeout(() => this.end(), waitMs)
  }

  // What of the line belongs to the secret that the line before has left unfinished; null: none of it. A few letters may be there by chance.
  #goOn({ secrets, length }: Going, plain: string): { shown: string; length: number } | null {
    let longest = { name: '', length: 0, isDone: false }
    for (const { form, name } of secrets) {
      const common = commonLength(form, length, plain)
      if (common >= longest.length) longest = { name, length: common, isDone: length + common === form.length }
    }
    const goesOn = longest.length === plain.length && !longest.isDone
    if (goesOn) {
      const left = secrets.filter(({ form }) => form.startsWith(plain, length) && form.length > length + plain.length)
      this.#going = { secrets: left, length: length + plain.length }
      return { shown: plain === '' ? '' : `[${longest.name}]`, length: plain.length }
    }
    this.#going = null
    return longest.isDone || longest.length >= 4 ? { shown: `[${longest.name}]`, length: longest.length } : null
  }
}

function textOf(lines: Held[]): string {
  return lines.length === 1 ? (lines[0]?.rest ?? '') : lines.map(({ rest }) => rest).join('')
}

function shownOf({ clean, before, rest, hasSecret }: Held, start: number, inside: Found[]): string {
  return inside.length === 0 && !hasSecret ? clean : before + cover(rest, start, inside)
}

function partOf(line: Held, start: number, { inside, open }: { inside: Found[]; open: number }): Held {
  const { clean, before, rest, hasSecret } = line
  return {
    clean,
    before: before + cover(rest.slice(0, open - start), start, inside),
    rest: rest.slice(open - start),
    hasSecret: hasSecret || inside.length > 0,
  }
}

function commonLength(form: string, from: number, text: string): number {
  const most = Math.min(form.length - from, text.length)
  let length = 0
  while (length < most && form[from + length] === text[length]) length += 1
  return length
}
