import type { Readable } from 'node:stream'

/**
 * Where bundles and sources are kept. Keys come from `keys.ts` only. Every write is create-only: a key's bytes never change, and putting
 * a key that exists leaves it as it is.
 */
export interface BundleStore {
  /** How many calls are worth having under way at a time. */
  readonly atOnce: number
  /** Stores the bytes whole or not at all. With `sha256`, bytes of another digest are refused (STORE_CORRUPT). Throws STORE_UNAVAILABLE. */
  put(key: string, body: Buffer | Readable, expected?: { sha256?: string }): Promise<void>
  /** A stream of the bytes. Throws STORE_UNAVAILABLE, or STORE_CORRUPT when there is no such key. */
  get(key: string): Promise<Readable>
  /** Those of the keys that exist. */
  has(keys: string[]): Promise<Set<string>>
  /** Removing what is not there is no error. */
  remove(keys: string | string[]): Promise<void>
  /** Keys that start with the prefix (a directory, ending in `/`), in no order. */
  list(prefix: string): Promise<string[]>
  /** A path on this machine with these bytes, or null when the store is elsewhere. The file must not be written to. */
  localPath(key: string): string | null
}
