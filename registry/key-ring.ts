import { hkdfSync, randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { AppError } from './errors.ts'

/** 32 bytes, and the 8 that name them in what they have sealed. */
export type NamedKey = { id: Buffer; bytes: Buffer }

/**
 * The platform's key: the one that seals, and while it is replaced the ones before it, which open. One that was read from a file looks at the file again
 * before it seals, and when it meets a name it does not know: a key that was replaced while a part ran is taken up by it. A key it has known
 * it keeps, for what was read before may be sealed by it.
 */
export class KeyRing {
  #keys: NamedKey[]
  readonly #path: string | null
  #seen: string | null = null

  /** `keys`: the one that seals first. `path`: where they came from, and come from again. */
  constructor(keys: Buffer[], path: string | null = null) {
    this.#keys = keys.map(nameKey)
    this.#path = path
    this.#seen = path && versionOf(path)
  }

  static of(key: KeyRing | Buffer): KeyRing {
    return key instanceof KeyRing ? key : new KeyRing([key])
  }

  /** The one that seals. */
  current(): NamedKey {
    this.refresh()
    const [first] = this.#keys
    if (!first) throw new AppError('INTERNAL', 'there is no key')
    return first
  }

  /** Every one that opens, the one that seals first. */
  all(): readonly NamedKey[] {
    return this.#keys
  }

  /** The one that has been there the longest: what is derived of it is the same in every part while a key is replaced. */
  eldest(): NamedKey {
    return this.#keys.at(-1) ?? this.current()
  }

  /** True: the file has changed, and was read. */
  refresh(): boolean {
    const path = this.#path
    const now = path && versionOf(path)
    if (!path || !now || now === this.#seen) return false
    const read = parseKeys(readFileSync(path, 'utf8'), path).map(nameKey)
    this.#seen = now
    const isNew = (known: NamedKey) => !read.some(({ id }) => id.equals(known.id))
    this.#keys = [...read, ...this.#keys.filter(isNew)]
    return true
  }
}

/** Keys in base64, separated by commas or white space, the one that seals first. Throws CONFIG_ENV. */
export function parseKeys(text: string, from: string): Buffer[] {
  const keys = text
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((one) => Buffer.from(one, 'base64'))
  if (keys.length === 0 || keys.some(({ length }) => length !== 32))
    throw new AppError('CONFIG_ENV', `${from} must be 32 bytes in base64; make one with: openssl rand -base64 32`)
  if (keys.some(isGuessable))
    throw new AppError(
      'CONFIG_ENV',
      `${from} is no random key but a guessable one; make one with: openssl rand -base64 32`,
    )
  return keys
}

// Of random bytes, one in 10^13 is all text, and none has so few different ones: this was typed, or copied from an example.
function isGuessable(key: Buffer): boolean {
  return key.every((byte) => byte >= 0x20 && byte < 0x7f) || new Set(key).size < 16
}

export function newKey(): Buffer {
  return randomBytes(32)
}

function nameKey(bytes: Buffer): NamedKey {
  return { bytes, id: Buffer.from(hkdfSync('sha256', bytes, '', 'atelier key name', 8)) }
}

// Null: it is not there, or not for us to see, and what is known holds.
function versionOf(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false })
  return found ? `${found.ino} ${found.mtimeMs} ${found.size}` : null
}
