import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Config } from './config.ts'
import { AppError, codeOf } from './errors.ts'
import { KeyRing, type NamedKey, newKey, parseKeys } from './key-ring.ts'

/** What seals every secret at rest: the platform's key, or 32 bytes alone. */
export type Key = KeyRing | Buffer

const idBytes = 8
const nonceBytes = 12
const tagBytes = 16

/** AES-256-GCM: name of the key, nonce, tag, ciphertext. `context` is bound in: bytes moved to another row do not open. */
export function seal(key: Key, context: string, text: string | Buffer): Buffer {
  return encrypt(KeyRing.of(key).current(), context, text, randomBytes(nonceBytes))
}

/**
 * The same, sealed by the key that seals now; null: it is already. Equal bytes become equal bytes, whoever does it and however often: rows that are compared
 * by what is sealed in them stay comparable. Throws INTERNAL as `open` does.
 */
export function sealAgain(key: Key, context: string, sealed: Buffer): Buffer | null {
  const current = KeyRing.of(key).current()
  if (sealed.subarray(0, idBytes).equals(current.id)) return null
  // A nonce may come twice for the same text in the same context only.
  const nonce = createHmac('sha256', current.bytes).update(`seal again ${context}\0`).update(sealed).digest()
  return encrypt(current, context, openBytes(key, context, sealed), nonce.subarray(0, nonceBytes))
}

function encrypt({ id, bytes }: NamedKey, context: string, text: string | Buffer, nonce: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', bytes, nonce).setAAD(Buffer.from(context))
  const ciphertext = Buffer.concat([cipher.update(Buffer.from(text)), cipher.final()])
  return Buffer.concat([id, nonce, cipher.getAuthTag(), ciphertext])
}

/** Throws INTERNAL when no key there is opens it, or the bytes were changed. */
export function open(key: Key, context: string, sealed: Buffer): string {
  return openBytes(key, context, sealed).toString('utf8')
}

/** The same of what is no text. */
export function openBytes(key: Key, context: string, sealed: Buffer): Buffer {
  const ring = KeyRing.of(key)
  const opened = tryToOpen(ring, context, sealed) ?? (ring.refresh() ? tryToOpen(ring, context, sealed) : null)
  if (opened !== null) return opened
  throw new AppError('INTERNAL', `the secret ${context} does not open with this ATELIER_KEY; was the key replaced?`)
}

function tryToOpen(ring: KeyRing, context: string, sealed: Buffer): Buffer | null {
  const named = ring.all().find(({ id }) => sealed.subarray(0, idBytes).equals(id))
  const opened = named ? decrypt(named, context, sealed.subarray(idBytes)) : null
  if (opened !== null) return opened
  // What was sealed before keys had names begins with its nonce.
  for (const one of ring.all()) {
    const bytes = decrypt(one, context, sealed)
    if (bytes !== null) return bytes
  }
  return null
}

function decrypt({ bytes }: NamedKey, context: string, sealed: Buffer): Buffer | null {
  if (sealed.length < nonceBytes + tagBytes) return null
  try {
    const decipher = createDecipheriv('aes-256-gcm', bytes, sealed.subarray(0, nonceBytes)).setAAD(Buffer.from(context))
    decipher.setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes))
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes + tagBytes)), decipher.final()])
  } catch {
    return null
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
  return Buffer.from(hkdfSync('sha256', KeyRing.of(key).eldest().bytes, '', `atelier ${purpose}`, 32))
}

/** The key as `loadKey` has it, or null when there is none on this machine yet. */
export async function findKey(config: Pick<Config, 'home' | 'key'>): Promise<KeyRing | null> {
  if (config.key !== null) return new KeyRing(parseKeys(config.key, 'ATELIER_KEY'))
  const path = keyPath(config.home)
  const kept = await readIfThere(path)
  return kept === null ? null : new KeyRing(parseKeys(kept, path), path)
}

/** The platform's key: ATELIER_KEY, else the 0600 file `secrets/key` in the home, made on first use. Safe when several processes call it at once. */
export async function loadKey(config: Pick<Config, 'home' | 'key'>): Promise<KeyRing> {
  const found = await findKey(config)
  if (found) return found

  const path = keyPath(config.home)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${randomUUID()}`
  await writeFile(temporary, `${newKey().toString('base64')}\n`, { mode: 0o600 })
  // A link never replaces: of several processes one makes the key, and all read that one.
  await link(temporary, path).catch((thrown: unknown) => {
    if (codeOf(thrown) !== 'EEXIST') throw thrown
  })
  await rm(temporary)
  return new KeyRing(parseKeys(await readFile(path, 'utf8'), path), path)
}

export function keyPath(home: string): string {
  return join(home, 'secrets/key')
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  }
}
