/** What a pattern has taken from a path: placeholders by name, and `splat`. */
export type Captures = ReadonlyMap<string, string>

const placeholder = /^:([A-Za-z][A-Za-z0-9_]{0,63})$/

/**
 * A path as `_headers` and `_redirects` write it: `/blog/:year/*`. A placeholder stands for one whole segment; one `*` stands for anything,
 * slashes too, and may be followed by plain text (`/*.pdf`). No regular expression is made of it: one comparison from left to right
 * decides, whatever the pattern and the path.
 */
export class PathPattern {
  /** The first segment, when it is plain and whole; null: it may be anything. */
  readonly first: string | null
  /** Without placeholder or `*`. */
  readonly isPlain: boolean
  readonly names: readonly string[]
  // Plain text and names by turns, text first; what follows the `*`, or null without one.
  readonly #pieces: readonly string[]
  readonly #tail: string | null

  /** Throws an Error that says in half a sentence what is wrong. */
  constructor(text: string) {
    if (!text.startsWith('/')) throw new Error('a path starts with /')
    if (/[\u0000-\u001f\u007f\\?#]/.test(text))
      throw new Error('a path holds no query, fragment, backslash or control character')
    const [head = '', tail, ...more] = text.split('*')
    if (more.length > 0) throw new Error('a path holds one * at most')
    const pieces = readPieces(tail === undefined ? withoutSlash(head) : head)
    this.#tail = tail === undefined ? null : decode(tail)
    if (tail?.split('/').some((segment) => segment.startsWith(':'))) throw new Error('no placeholder comes after *')
    this.names = [...pieces.filter((_, index) => index % 2 === 1), ...(tail === undefined ? [] : ['splat'])]
    if (new Set(this.names).size < this.names.length) throw new Error('a placeholder has one place')
    this.isPlain = this.names.length === 0
    this.#pieces = pieces
    this.first = /^\/([^/]+)\//.exec(pieces[0] ?? '')?.[1] ?? null
  }

  /** The path of a plain pattern, decoded and without a slash at its end. */
  get plain(): string {
    return this.#pieces[0] ?? ''
  }

  /** What the pattern takes from a decoded path; null: it does not fit. A slash at the path's end is as good as none. */
  match(path: string): Captures | null {
    const captures = new Map<string, string>()
    let at = 0
    for (const [index, piece] of this.#pieces.entries()) {
      if (index % 2 === 1) {
        const end = endOfSegment(path, at)
        if (end === at) return null
        captures.set(piece, path.slice(at, end))
        at = end
      } else if (path.startsWith(piece, at)) at += piece.length
      // `/blog/*` is for `/blog` too.
      else if (this.#tail === '' && index === this.#pieces.length - 1 && `${path.slice(at)}/` === piece)
        at = path.length
      else return null
    }
    if (this.#tail === null) return at === path.length || path.slice(at) === '/' ? captures : null
    const end = path.length - this.#tail.length
    if (end < at || !path.endsWith(this.#tail)) return null
    return captures.set('splat', path.slice(at, end))
  }
}

/** `/about/` and `/about` are one address to rules. */
export function withoutSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}

function readPieces(head: string): string[] {
  const pieces: string[] = []
  let text = ''
  for (const [index, segment] of head.split('/').entries()) {
    const slash = index === 0 ? '' : '/'
    const name = placeholder.exec(segment)?.[1]
    if (name === undefined) {
      if (segment.startsWith(':')) throw new Error(`${segment} is no placeholder: a letter, then letters and digits`)
      text += slash + decode(segment)
    } else {
      pieces.push(text + slash, name)
      text = ''
    }
  }
  return pieces.length === 0 || text !== '' ? [...pieces, text] : pieces
}

function decode(text: string): string {
  if (/%(2f|5c|00)/i.test(text)) throw new Error('a path holds no encoded slash, backslash or NUL')
  try {
    return decodeURIComponent(text)
  } catch (thrown) {
    throw new Error('a path is encoded in UTF-8', { cause: thrown })
  }
}

function endOfSegment(path: string, at: number): number {
  const end = path.indexOf('/', at)
  return end === -1 ? path.length : end
}
