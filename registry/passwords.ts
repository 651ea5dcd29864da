import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { AppError } from './errors.ts'
import { Turns } from './turns.ts'

const derive = promisify(argon2)

// The first choice of OWASP's Password Storage Cheat Sheet for argon2id: 19 MiB, two passes, one lane. `memory` is in KiB.
const cost = { memory: 19_456, passes: 2, parallelism: 1 }
const tagLength = 32
const minLength = 12
const maxBytes = 1024

// Hashing is slow on purpose. It runs beside the event loop, on threads that files and DNS need, too, so it never has all of them.
const turns = new Turns({ atOnce: 2, waiting: 30 })

/** A person's password as it is kept: `$argon2id$v=19$m=…,t=…,p=…$<salt>$<hash>`. Throws SIGN_IN_LIMIT when too many are being hashed. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const hash = await turns.take(() => hashWith(password, salt, cost))
  return `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}$${encode(salt)}$${encode(hash)}`
}

/** Whether it is that password; with null (nobody, or nobody's password) it is not, after the same work. Throws as `hashPassword` does. */
export async function isPassword(password: string, kept: string | null): Promise<boolean> {
  const { salt, hash, ...at } = kept === null ? nobodys : parse(kept)
  const given = await turns.take(() => hashWith(password, salt, at))
  return timingSafeEqual(given, hash) && kept !== null
}

/** Throws PASSWORD_WEAK with the rule it breaks. NIST SP 800-63B asks for length, and for no kinds of characters. */
export function refuseWeakPassword(password: string, name: string): void {
  const weak = (why: string) =>
    new AppError('PASSWORD_WEAK', `${why}; take at least ${minLength} characters, such as four words`)
  const text = password.normalize('NFC')
  if ([...text].length < minLength) throw weak('this password is too short')
  if (Buffer.byteLength(text) > maxBytes) throw weak(`this password is longer than ${maxBytes} bytes`)
  if (new Set(text).size < 5) throw weak('this password is a few characters over and over')
  const plain = text.toLowerCase().replace(/[^a-z0-9]/g, '')
  const known = [
    name.toLowerCase(),
    'password',
    'passwort',
    'changeme',
    'letmein',
    'qwertyuiop',
    'atelier',
    '1234567890',
  ]
  const left = known.reduce((rest, word) => rest.replaceAll(word.replace(/[^a-z0-9]/g, '') || '\0', ''), plain)
  if (plain.length > 0 && left.length < 6) throw weak('this password is among the first that are tried')
}

type Cost = typeof cost
const nobodys = { ...cost, salt: randomBytes(16), hash: randomBytes(tagLength) }

async function hashWith(password: string, salt: Buffer, { memory, passes, parallelism }: Cost): Promise<Buffer> {
  const message = password.normalize('NFC')
  return derive('argon2id', { message, nonce: salt, memory, passes, parallelism, tagLength })
}

function parse(kept: string): Cost & { salt: Buffer; hash: Buffer } {
  const match = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]{43})$/.exec(kept)
  if (!match) throw new AppError('INTERNAL', 'a kept password is not in the form it was written in')
  const [, memory, passes, parallelism, salt = '', hash = ''] = match
  return {
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64'),
    hash: Buffer.from(hash, 'base64'),
  }
}

function encode(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
