import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import type { Log } from '../../../registry/log.ts'
import { type ManifestFile, manifestFile } from '../../../registry/manifest.ts'
import { headerRule } from '../../../registry/site-rules.ts'
import { isHidden } from './file-table.ts'
import { isHashedName } from './hashed-names.ts'
import { HeaderRules } from './header-rules.ts'
import { StaticFile } from './static-file.ts'

/** A bundle of a route, on this machine. `headers`: flat pairs of every response with a file of it. */
export type BundleOnDisk = { manifestPath: string; headers: string[] }

type Asset = { file: ManifestFile; headers: string[]; rules: HeaderRules; served: StaticFile | null }
type Assets = { byPath: Map<string, Asset>; isWhole: boolean; readAt: number }
type Kept = { bundles: BundleOnDisk[]; assets: Assets | null; reading: Promise<void> | null }

// What could not be read is looked for again by the first who asks after this long.
const retryMs = 1_000
const mostIndexes = 200

/**
 * Files named by their content that some deployment of a route has had: what a page of an older version, or of the other arm of a rollout, still
 * asks for (architecture.md §7). Costs nothing until a file is missing; then the manifests of the route are read, once.
 */
export class RetainedAssets {
  readonly #routes = new Map<string, Kept>()
  readonly #read = new Set<Kept>()
  readonly #log: Log

  constructor({ log }: { log: Log }) {
    this.#log = log
  }

  /** Replaces what is known of a route; the bundles that count first come first. */
  tell(routeId: string, bundles: BundleOnDisk[]): void {
    const known = this.#routes.get(routeId)
    if (known) this.#read.delete(known)
    if (bundles.length === 0) this.#routes.delete(routeId)
    else this.#routes.set(routeId, { bundles, assets: null, reading: null })
  }

  /** The file at a decoded path. A promise: its manifests are being read, ask again when it resolves. Null: nobody has it. */
  find(routeId: string, path: string): StaticFile | Promise<void> | null {
    const kept = this.#routes.get(routeId)
    if (!kept || !path.includes('.') || !isHashedName(path)) return null
    const asset = kept.assets?.byPath.get(path)
    if (asset) {
      asset.served ??= new StaticFile(asset.file, { headers: asset.headers, added: asset.rules.for(path) })
      return asset.served
    }
    if (kept.assets && (kept.assets.isWhole || performance.now() - kept.assets.readAt < retryMs)) return null
    kept.reading ??= this.#readAll(kept).finally(() => {
      kept.reading = null
    })
    return kept.reading
  }

  async #readAll(kept: Kept): Promise<void> {
    const byPath = new Map<string, Asset>()
    let isWhole = true
    for (const bundle of kept.bundles) {
      try {
        await readInto(byPath, bundle)
      } catch (thrown) {
        isWhole = false
        this.#log.warn({ err: thrown, manifest: bundle.manifestPath }, 'assets of an earlier version not known')
      }
    }
    kept.assets = { byPath, isWhole, readAt: performance.now() }
    this.#read.add(kept)
    for (const oldest of this.#read) {
      if (this.#read.size <= mostIndexes) break
      oldest.assets = null
      this.#read.delete(oldest)
    }
  }
}

// The main process has checked it when it brought it. Of a hundred manifests most name the same files, so only new names are looked at closely.
const looseManifest = z.object({
  files: z.array(z.looseObject({ path: z.string() })),
  header_rules: z.array(headerRule).default([]),
})

async function readInto(byPath: Map<string, Asset>, { manifestPath, headers }: BundleOnDisk): Promise<void> {
  const { files, header_rules } = looseManifest.parse(JSON.parse(await readFile(manifestPath, 'utf8')))
  const rules = new HeaderRules(header_rules)
  for (const file of files) {
    const path = `/${file.path}`
    if (byPath.has(path) || !isHashedName(path) || isHidden(file.path)) continue
    byPath.set(path, { file: manifestFile.parse(file), headers, rules, served: null })
  }
}
