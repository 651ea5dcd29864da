import { randomInt } from 'node:crypto'

const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** A random id of 12 characters [a-z0-9] (62 bits), a letter first; short enough to stand in a unix socket's path. */
export function newId(): string {
  const letters = Array.from({ length: 11 }, () => alphabet[randomInt(alphabet.length)])
  return alphabet[randomInt(26)] + letters.join('')
}
