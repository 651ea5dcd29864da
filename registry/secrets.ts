import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Config } from './config.ts'
import { AppError, codeOf } from './errors.ts'

/** 32 bytes that seal every secret at rest. */
export type Key = Buffer

const nonceBytes = 12
const tagBytes = 16

/** AES-256-GCM: nonce, tag, ciphertext. `context` is bound in: bytes moved to another row do not open. */
export function seal(key: Key, context: string, text: string): Buffer {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
  const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), ciphertext])
}

/** Throws INTERNAL when the key is another one or the bytes were changed. */
export function open(key: Key, context: string, sealed: Buffer): string {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes)).setAAD(Buffer.from(context))
    decipher.setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes))
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes + tagBytes)), decipher.final()]).toString('utf8')
  } catch (cause) {
    throw new AppError('INTERNAL', `the secret ${context} does not open with this ATELIER_KEY; was the key replaced?`, {
      cause,
    })
  }
}

export function opens(key: Key, context: string, sealed: Buffer): boolean {
  try {
    open(key, context, sealed)
    return true
  } catch {
    return false
  }
}

/** A key for one purpose, which says nothing of the platform's (HKDF, RFC 5869). 32 bytes, the same wherever the platform's key is. */
export function deriveKey(key: Key, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', `atelier ${purpose}`, 32))
}

/** The key as `loadKey` has it, or null when there is none on this machine yet. */
export async function findKey(config: Pick<Config, 'home' | 'key'>): Promise<Key | null> {
  if (config.key !== null) return parseKey(config.key, 'ATELIER_KEY')
  const path = keyPath(config.home)
  const kept = await readIfThere(path)
  return kept === null ? null : parseKey(kept, path)
}

/** The platform's key: ATELIER_KEY, else the 0600 file `secrets/key` in the home, made on first use. Safe when several processes call it at once. */
export async function loadKey(config: Pick<Config, 'home' | 'key'>): Promise<Key> {
  const found = await findKey(config)
  if (found) return found

  const path = keyPath(config.home)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${randomUUID()}`
  await writeFile(temporary, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
  // A link never replaces: of several processes one makes the key, and all read that one.
  await link(temporary, path).catch((thrown: unknown) => {
    if (codeOf(thrown) !== 'EEXIST') throw thrown
  })
  await rm(temporary)
  return parseKey(await readFile(path, 'utf8'), path)
}

function keyPath(home: string): string {
  return join(home, 'secrets/key')
}

function parseKey(text: string, from: string): Key {
  const key = Buffer.from(text.trim(), 'base64')
  if (key.length !== 32)
    throw new AppError('CONFIG_ENV', `${from} must be 32 bytes in base64; make one with: openssl rand -base64 32`)
  // Of random bytes, one in 10^13 is all text, and none has so few different ones: this was typed, or copied from an example.
  if (key.every((byte) => byte >= 0x20 && byte < 0x7f) || new Set(key).size < 16)
    throw new AppError(
      'CONFIG_ENV',
      `${from} is no random key but a guessable one; make one with: openssl rand -base64 32`,
    )
  return key
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  }
}
