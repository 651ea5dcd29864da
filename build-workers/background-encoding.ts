import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { missingBlobs, readManifest, readWhole } from '../registry/bundle-store/bundles.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import { type BuildName, blobKey, encodingsKey } from '../registry/bundle-store/keys.ts'
import {
  type BetterForms,
  type BuildToEncode,
  claimEncoding,
  type Encoding,
  finishEncoding,
  keepEncodingClaim,
  recallEncodings,
  recordEncodings,
  releaseEncodingClaim,
} from '../registry/encodings.ts'
import { AppError } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { ManifestFile } from '../registry/manifest.ts'
import { dropBlobRefs } from '../registry/retention.ts'
import { channels } from '../registry/routes.ts'
import type { Sql } from '../registry/sql.ts'
import { Wakeup } from '../registry/wakeup.ts'
import { BestForms } from './best-forms.ts'
import { type EncodedSibling, mayShrink } from './encodings.ts'

export type BackgroundEncodingDeps = { sql: Sql; store: BundleStore; log: Log }

const lookEveryMs = 60_000
// After a deployment has gone live, its first visitors come before this.
const quietMs = 1_000

/**
 * Makes what is live as small as it gets when its users have it already: a push compresses fast. Builds are claimed in Postgres, newest first,
 * and what has been made is recorded a file at a time, so whoever goes on after a crash begins where it ended; doing one twice changes nothing.
 */
export class BackgroundEncoding {
  readonly #deps: BackgroundEncodingDeps
  readonly #forms = new BestForms()
  readonly #stopping = new AbortController()
  readonly #wakeup: Wakeup
  readonly #running: Promise<void>

  static async start(deps: BackgroundEncodingDeps): Promise<BackgroundEncoding> {
    const isLive = (payload: string) => payload.endsWith(':live')
    return new BackgroundEncoding(deps, await Wakeup.on(deps.sql, [channels.deployments], isLive))
  }

  private constructor(deps: BackgroundEncodingDeps, wakeup: Wakeup) {
    this.#deps = deps
    this.#wakeup = wakeup
    this.#running = this.#run()
  }

  /** Ends what is under way; another worker goes on with it, or this one after its next start. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#wakeup[Symbol.asyncDispose]()
  }

  async #run(): Promise<void> {
    const { log } = this.#deps
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        await pause(quietMs, null, { signal })
        while (await this.#encodeNext()) signal.throwIfAborted()
      } catch (thrown) {
        if (!signal.aborted) log.warn({ err: thrown }, 'better forms not made, tried again later')
      }
      // A thread that waits for a minute is 10 MB for nothing.
      await this.#forms.close()
      await this.#wakeup.next({ timeoutMs: lookEveryMs, signal })
    }
  }

  async #encodeNext(): Promise<boolean> {
    const { sql, store, log } = this.#deps
    const { signal } = this.#stopping
    const build = await claimEncoding(sql)
    if (!build) return false
    const startedAt = performance.now()
    try {
      const sha256 = await this.#encode(build)
      const isKept = await finishEncoding(sql, build.id, sha256)
      const ms = Math.round(performance.now() - startedAt)
      log.info(
        { app: build.appId, build: build.id, better: sha256 !== null, ms },
        'forms of a build are as small as they get',
      )
      if (isKept) return true
      // Its files were pruned while it was at work, and with them their references.
      await dropBlobRefs(sql, build.id)
      if (sha256) await store.remove(encodingsKey(nameOf(build), sha256))
      return true
    } catch (thrown) {
      if (signal.aborted) await releaseEncodingClaim(sql, build.id)
      throw thrown
    }
  }

  /** The digest of the build's better forms, stored; null: its manifest has the best. */
  async #encode(build: BuildToEncode): Promise<string | null> {
    const { sql, store } = this.#deps
    const manifest = await readManifest(store, { key: build.manifestKey, sha256: build.manifestSha256 })
    const files = distinct(manifest.files.filter(({ size, content_type }) => mayShrink(size, content_type)))
    const known = await recallEncodings(
      sql,
      files.map(({ sha256 }) => sha256),
    )
    const better: BetterForms = { files: {} }
    for (const file of files) {
      const remembered = known.get(file.sha256)
      const isThere = remembered && (await this.#countOn(build, remembered)).size === 0
      const forms = isThere ? remembered : await this.#makeForms(build, file)
      if (!isSame(forms, file.encodings)) better.files[file.sha256] = forms
    }
    if (Object.keys(better.files).length === 0) return null
    const bytes = Buffer.from(JSON.stringify(better))
    const sha256 = digestOf(bytes)
    await store.put(encodingsKey(nameOf(build), sha256), bytes, { sha256 })
    return sha256
  }

  async #makeForms(build: BuildToEncode, file: ManifestFile): Promise<Encoding[]> {
    const { sql, store } = this.#deps
    await keepEncodingClaim(sql, build.id)
    const content = await readWhole(store, blobKey(file.sha256))
    if (digestOf(content) !== file.sha256)
      throw new AppError('STORE_CORRUPT', `the blob ${file.sha256} does not match its digest; it is not compressed`)
    const made = await this.#forms.make(content, file.encodings, this.#stopping.signal)
    const missing = await this.#countOn(build, made)
    for (const { sha256, content } of made)
      if (content && missing.has(sha256)) await store.put(blobKey(sha256), content, { sha256 })
    const forms = made.map(({ content: _, ...form }: EncodedSibling) => form)
    await recordEncodings(sql, file.sha256, forms)
    return forms
  }

  // References first, so that nothing is collected that the build will count on.
  async #countOn(build: BuildToEncode, forms: Encoding[]): Promise<Set<string>> {
    if (forms.length === 0) return new Set()
    const { sql, store } = this.#deps
    return missingBlobs(sql, store, { ...nameOf(build), digests: forms.map(({ sha256 }) => sha256) })
  }
}

function nameOf({ appId, version, id }: BuildToEncode): BuildName {
  return { app: appId, version, build: id }
}

function distinct(files: ManifestFile[]): ManifestFile[] {
  return [...new Map(files.map((file) => [file.sha256, file])).values()]
}

function isSame(forms: Encoding[], present: Encoding[]): boolean {
  const digests = (list: Encoding[]) =>
    list
      .map(({ sha256 }) => sha256)
      .sort()
      .join()
  return digests(forms) === digests(present)
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
