import { createHash } from 'node:crypto'
import { mkdir, rm, stat, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseManifest, readWhole } from '../../registry/bundle-store/bundles.ts'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { serverKey } from '../../registry/bundle-store/keys.ts'
import { type Encoded, readBetterForms } from '../../registry/encodings.ts'
import { AppError, codeOf } from '../../registry/errors.ts'
import type { Manifest } from '../../registry/manifest.ts'
import { unpackedModulesPath } from '../../registry/unpacked-modules.ts'
import { spreadFolders } from '../../sandbox/spread-folder.ts'
import type { LocalRef } from '../hosts/local-deployment.ts'
import { betterFormsPath } from './better-forms.ts'
import type { BlobFiles } from './blob-files.ts'
import { listDirectory, readIfThere, writeWhole } from './durable-file.ts'
import { unpackServerCode } from './server-code.ts'

/** A bundle on this machine: whole, checked, and enough to serve from with everything else gone. */
export type LocalBundle = { manifest: Manifest; manifestPath: string; codeDirectory: string | null }

export type ManifestRef = Pick<LocalRef, 'appId' | 'id' | 'manifestKey' | 'manifestSha256'>

export type PruneRules = {
  apps: ReadonlySet<string>
  isWanted: (id: string) => boolean
  isRetained: (id: string) => boolean
}

const keptPerApp = 5
const keptModules = 3
// Beside the deployments, whose ids are letters and digits.
const modulesName = '.modules'

/** Copies of bundles below `<directory>/<app>/<deployment>/`: manifest.json, and code/ with the unpacked server code. */
export class LocalBundles {
  readonly #directory: string
  readonly #store: BundleStore
  readonly #blobs: BlobFiles
  readonly #home: string | null

  /** `home`: where a build worker may have left dependencies unpacked. */
  constructor(
    directory: string,
    { store, blobs, home = null }: { store: BundleStore; blobs: BlobFiles; home?: string | null },
  ) {
    this.#directory = directory
    this.#store = store
    this.#blobs = blobs
    this.#home = home
  }

  /** Brings what the deployment needs to this machine. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
  async bring(ref: LocalRef): Promise<LocalBundle> {
    const directory = join(this.#directory, ref.appId, ref.id)
    await mkdir(dirname(directory), { recursive: true, mode: 0o711 })
    await spreadFolders(dirname(directory))
    await mkdir(directory, { recursive: true, mode: 0o711 })
    // Its age is how long ago somebody wanted it: what a rollback goes to is among the youngest.
    await utimes(directory, new Date(), new Date())
    const manifestPath = this.manifestPath(ref.appId, ref.id)
    const manifest = await this.#bringManifest(ref, manifestPath)
    await this.#bringBlobs(manifest)
    if (!manifest.server) return { manifest, manifestPath, codeDirectory: null }

    const name = { app: manifest.app_id, version: manifest.version, build: manifest.build }
    const codeDirectory = join(directory, 'code')
    const { sha256, modules } = manifest.server
    // Of one app only: what one app could do to files it runs must not reach another.
    const modulesDirectory = join(this.#directory, ref.appId, modulesName)
    const unpackedModules = modules && this.#home ? unpackedModulesPath(this.#home, ref.appId, modules.sha256) : null
    const places = { modulesDirectory, unpackedModules }
    await unpackServerCode(this.#store, { key: serverKey(name), sha256, modules }, codeDirectory, places)
    return { manifest, manifestPath, codeDirectory }
  }

  manifestPath(appId: string, id: string): string {
    return join(this.#directory, appId, id, 'manifest.json')
  }

  /**
   * Brings the forms that the files of a bundle have got since it was made, and then the list of them. False: it is here already.
   * Throws STORE_CORRUPT, STORE_UNAVAILABLE.
   */
  async bringBetterForms({ id, appId, version, build, sha256 }: Encoded): Promise<boolean> {
    const path = betterFormsPath(this.manifestPath(appId, id))
    const kept = await readIfThere(path)
    if (kept && digestOf(kept) === sha256) return false
    const { bytes, forms } = await readBetterForms(this.#store, { app: appId, version, build }, sha256)
    for (const form of Object.values(forms.files).flat()) await this.#blobs.ensure(form)
    await writeWhole(path, bytes)
    return true
  }

  /** Brings the manifest alone, of a bundle whose files are asked for one by one. Throws STORE_CORRUPT, STORE_UNAVAILABLE. */
  async bringManifest(ref: ManifestRef): Promise<void> {
    const path = this.manifestPath(ref.appId, ref.id)
    const directory = dirname(path)
    const made = await mkdir(directory, { recursive: true, mode: 0o711 })
    await this.#bringManifest(ref, path)
    // Nobody wanted it to run: what somebody goes back to stays here rather than this.
    if (made !== undefined) await utimes(directory, 0, 0)
  }

  /**
   * Removes copies that nobody needs: all of apps not named, and of the others all but the wanted and the five brought last. Of those that are
   * retained the manifest stays.
   */
  async prune({ apps, isWanted, isRetained }: PruneRules): Promise<void> {
    let hasDropped = false
    for (const app of await listDirectory(this.#directory)) {
      const ids = (await listDirectory(join(this.#directory, app))).filter((name) => name !== modulesName)
      const newestFirst = await this.#newestFirst(app, ids)
      const dropped = newestFirst.filter((id) => !isWanted(id)).slice(apps.has(app) ? keptPerApp : 0)
      for (const id of dropped) {
        if (isWanted(id)) continue
        const directory = join(this.#directory, app, id)
        const names = await listDirectory(directory)
        const going = isRetained(id) ? names.filter((name) => name !== 'manifest.json') : names
        for (const name of going) await rm(join(directory, name), { recursive: true, force: true })
        if (!isRetained(id)) await rm(directory, { recursive: true, force: true })
        hasDropped ||= going.length > 0
      }
      await this.#pruneModules(join(app, modulesName), apps.has(app) ? keptModules : 0)
    }
    if (hasDropped && this.#blobs.keepsCopies) await this.#blobs.keepOnly(await this.#digests())
  }

  // Of every file of the bundles that are here.
  async #digests(): Promise<Set<string>> {
    const digests = new Set<string>()
    for (const app of await listDirectory(this.#directory)) {
      for (const id of await listDirectory(join(this.#directory, app))) {
        const manifestPath = this.manifestPath(app, id)
        for (const path of [manifestPath, betterFormsPath(manifestPath)]) {
          const bytes = await readIfThere(path)
          // Whatever looks like a digest: a manifest that is damaged or of another time must not cost a bundle its files.
          for (const [digest] of bytes?.toString('latin1').matchAll(/[0-9a-f]{64}/g) ?? []) digests.add(digest)
        }
      }
    }
    return digests
  }

  // A deployment keeps what it links to; the next one with the same dependencies would have to unpack them.
  async #pruneModules(place: string, kept: number): Promise<void> {
    const digests = await listDirectory(join(this.#directory, place))
    for (const digest of (await this.#newestFirst(place, digests)).slice(kept))
      await rm(join(this.#directory, place, digest), { recursive: true, force: true })
  }

  async #bringManifest(ref: ManifestRef, path: string): Promise<Manifest> {
    const kept = await readIfThere(path)
    if (kept && digestOf(kept) === ref.manifestSha256) return parseManifest(kept, path)

    const bytes = await readWhole(this.#store, ref.manifestKey)
    const digest = digestOf(bytes)
    if (digest !== ref.manifestSha256) {
      throw new AppError(
        'STORE_CORRUPT',
        `${ref.manifestKey} has the digest ${digest}, not ${ref.manifestSha256}; it is not served`,
      )
    }
    await writeWhole(path, bytes)
    return parseManifest(bytes, ref.manifestKey)
  }

  async #bringBlobs({ files }: Manifest): Promise<void> {
    const waiting = files.flatMap(({ sha256, size, encodings }) => [{ sha256, size }, ...encodings]).values()
    const bring = async () => {
      for (const blob of waiting) await this.#blobs.ensure(blob)
    }
    await Promise.all(Array.from({ length: this.#store.atOnce }, bring))
  }

  async #newestFirst(app: string, ids: string[]): Promise<string[]> {
    const used = await Promise.all(
      ids.map(async (id) => ({
        id,
        at: (await stat(join(this.#directory, app, id)).catch(ignoreMissing))?.mtimeMs ?? 0,
      })),
    )
    return used.toSorted((a, b) => b.at - a.at).map(({ id }) => id)
  }
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function ignoreMissing(thrown: unknown): null {
  if (codeOf(thrown) === 'ENOENT') return null
  throw thrown
}
