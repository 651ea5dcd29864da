import { randomUUID } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findPresentApps } from '../registry/apps.ts'
import type { Config } from '../registry/config.ts'
import { codeOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import type { Sql } from '../registry/sql.ts'
import { diskUsage } from '../sandbox/disk-usage.ts'
import { leaseUser, type SandboxUser } from '../sandbox/users.ts'
import { DependencyCache } from './dependency-cache.ts'
import { FrameworkCache } from './framework-cache.ts'
import { makeFor, removeAs } from './workspace.ts'

/** Where the builds of one app keep what makes the next one faster. */
export type AppCaches = {
  /** The build's own, and writable for it: what its package manager downloads. */
  downloads: string
  /** The platform's, and given out as links: installed dependencies. */
  modules: string
  /** The platform's, and moved into a build and out again: what frameworks keep. */
  frameworks: string
}

/** What is kept or dropped as a whole. */
type Entry = { app: string; path: string; usedAt: number; bytes: number }

const usedFile = 'used'
const mb = 1_048_576

/**
 * The caches of all apps' builds on this machine, each app's apart from every other's. They are bounded, for an app and in all, and what was used
 * least recently goes first; never while a build of its app is under way. An app's caches lie in a folder that has a new name once they are thrown
 * away: whoever is still at work in the old one finds it whole.
 */
export class BuildCaches {
  /** Package managers that were fetched, for all apps. */
  readonly tools: string
  readonly #apps: string
  readonly #deps: { config: Config; sql: Sql; log: Log }
  readonly #inUse = new Map<string, number>()
  readonly #sizes = new Map<string, { of: string; bytes: number }>()
  #trimming: Promise<void> = Promise.resolve()

  constructor(deps: { config: Config; sql: Sql; log: Log }) {
    this.#deps = deps
    this.tools = join(deps.config.home, 'cache', 'tools')
    this.#apps = join(deps.config.home, 'cache', 'apps')
  }

  /** The digests of what an app's files become when they are compressed; nobody but the platform writes it. */
  encodings(app: string): string {
    return join(this.#apps, app, 'encodings.json')
  }

  /** The caches of an app for one build, until it is disposed. `afresh`: without what earlier builds have left, which is thrown away. */
  async use(app: string, user: SandboxUser, { afresh }: { afresh: boolean }): Promise<AppCaches & AsyncDisposable> {
    this.#inUse.set(app, (this.#inUse.get(app) ?? 0) + 1)
    const release = async () => {
      const left = (this.#inUse.get(app) ?? 1) - 1
      if (left > 0) this.#inUse.set(app, left)
      else this.#inUse.delete(app)
      if (left === 0) await this.trim()
    }
    try {
      return { ...(await this.#open(app, user, afresh)), [Symbol.asyncDispose]: release }
    } catch (thrown) {
      await release()
      throw thrown
    }
  }

  /** Notes that a package manager has used an app's downloads. */
  async markDownloads({ downloads }: AppCaches): Promise<void> {
    await touch(`${downloads}.${usedFile}`)
  }

  /** Removes what is left of a former self that was killed. No build may be under way. */
  async sweep(): Promise<void> {
    for (const app of await namesIn(this.#apps))
      for (const generation of (await namesIn(join(this.#apps, app))).filter(isGeneration)) {
        const { modules, frameworks } = placesIn(join(this.#apps, app, generation))
        await new DependencyCache(modules).sweep()
        await FrameworkCache.sweep(frameworks)
      }
    for (const name of await namesIn(this.tools))
      if (name.startsWith('.making-')) await rm(join(this.tools, name), { recursive: true, force: true })
  }

  /** Removes the caches of apps that are gone, those that were thrown away, and what is more than the limits. */
  trim(): Promise<void> {
    this.#trimming = this.#trimming
      .then(() => this.#trim())
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'caches of builds not trimmed, tried again later'))
    return this.#trimming
  }

  async #open(app: string, user: SandboxUser, afresh: boolean): Promise<AppCaches> {
    const own = join(this.#apps, app)
    await mkdir(own, { recursive: true })
    if (afresh || !(await this.#generation(app)))
      await writeWhole(join(own, 'generation'), `g${randomUUID().slice(0, 8)}`)
    const generation = join(own, (await this.#generation(app)) ?? '')
    await mkdir(generation, { recursive: true })
    await Promise.all([this.#apps, own, generation].map((folder) => chmod(folder, 0o711)))
    await chmod(join(this.#apps, '..'), 0o711)
    const places = placesIn(generation)
    await makeFor(user, places.downloads)
    return places
  }

  async #generation(app: string): Promise<string | null> {
    const text = await readFile(join(this.#apps, app, 'generation'), 'utf8').catch(ifMissing(''))
    return isGeneration(text) ? text : null
  }

  async #trim(): Promise<void> {
    const { config, sql } = this.#deps
    const names = await namesIn(this.#apps)
    const living = new Set(await findPresentApps(sql, names))
    const entries: Entry[] = []
    for (const app of names) {
      if (this.#inUse.has(app)) entries.push(...(await this.#entriesOf(app)))
      else if (!living.has(app)) await this.#removeApp(app)
      else {
        await this.#removeOldGenerations(app)
        entries.push(...(await this.#keepWithin(config.buildCaches.appMb * mb, await this.#entriesOf(app))))
      }
    }
    await this.#keepWithin(config.buildCaches.totalMb * mb, entries)
  }

  async #keepWithin(bytes: number, entries: Entry[]): Promise<Entry[]> {
    const oldestFirst = entries.toSorted((a, b) => a.usedAt - b.usedAt)
    let sum = entries.reduce((total, entry) => total + entry.bytes, 0)
    const kept: Entry[] = []
    for (const entry of oldestFirst) {
      if (sum <= bytes || this.#inUse.has(entry.app)) kept.push(entry)
      else {
        sum -= entry.bytes
        await this.#remove(entry.app, [entry.path])
        await rm(`${entry.path}.json`, { force: true })
        this.#deps.log.info({ app: entry.app, bytes: entry.bytes }, 'cache of builds dropped: over the limit')
      }
    }
    return kept
  }

  async #entriesOf(app: string): Promise<Entry[]> {
    const { downloads, modules, frameworks } = placesIn(join(this.#apps, app, (await this.#generation(app)) ?? '-'))
    const entry = async (path: string, mark: string, isAsBefore: string): Promise<Entry> => {
      const usedAt = await usedAtOf(mark)
      return { app, path, usedAt, bytes: await this.#measure(path, isAsBefore || String(usedAt)) }
    }
    return Promise.all([
      entry(downloads, `${downloads}.${usedFile}`, ''),
      // Using one of these changes nothing in it but what it has been packed into.
      ...(await foldersIn(modules)).map(async (name) => {
        const place = join(modules, name)
        return entry(place, place, (await namesIn(place)).join())
      }),
      ...(await foldersIn(frameworks)).map((name) =>
        entry(join(frameworks, name), join(frameworks, `${name}.json`), ''),
      ),
    ])
  }

  // A tree of many files is walked once, and again only when it is another; `of` says which it is.
  async #measure(path: string, of: string): Promise<number> {
    const known = this.#sizes.get(path)
    if (known?.of === of) return known.bytes
    const bytes = await diskUsage([path], this.#deps.config.buildCaches.appMb * mb)
    this.#sizes.set(path, { of, bytes })
    return bytes
  }

  async #removeOldGenerations(app: string): Promise<void> {
    const current = await this.#generation(app)
    for (const name of await namesIn(join(this.#apps, app)))
      if (/^g[0-9a-f]{8}$/.test(name) && name !== current) await this.#removeGeneration(app, name)
  }

  async #removeApp(app: string): Promise<void> {
    for (const name of await foldersIn(join(this.#apps, app))) await this.#removeGeneration(app, name)
    await rm(join(this.#apps, app), { recursive: true, force: true })
  }

  async #removeGeneration(app: string, name: string): Promise<void> {
    const folder = join(this.#apps, app, name)
    const { downloads, frameworks } = placesIn(folder)
    await this.#remove(app, [downloads, ...(await foldersIn(frameworks)).map((as) => join(frameworks, as))])
    await rm(folder, { recursive: true, force: true })
  }

  async #remove(app: string, paths: string[]): Promise<void> {
    const user = await leaseUser(this.#deps.config, { purpose: 'build', app })
    await removeAs(user, paths, join(this.#apps, app))
    for (const path of paths) {
      await rm(path, { recursive: true, force: true })
      this.#sizes.delete(path)
    }
  }
}

function placesIn(folder: string): AppCaches {
  return {
    downloads: join(folder, 'downloads'),
    modules: join(folder, 'modules'),
    frameworks: join(folder, 'frameworks'),
  }
}

async function usedAtOf(mark: string): Promise<number> {
  return (await stat(mark).catch(ifMissing(null)))?.mtimeMs ?? 0
}

async function touch(path: string): Promise<void> {
  await writeFile(path, '', { flag: 'a' })
  await utimes(path, new Date(), new Date())
}

async function writeWhole(path: string, text: string): Promise<void> {
  const making = `${path}.${randomUUID()}`
  await writeFile(making, text)
  await rename(making, path)
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(ifMissing([]))
  return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(ifMissing([]))
}

function ifMissing<Value>(value: Value): (thrown: unknown) => Value {
  return (thrown) => {
    if (codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'ENOTDIR') return value
    throw thrown
  }
}

// Beside these stand files.
function isGeneration(name: string): boolean {
  return /^g[0-9a-f]{8}$/.test(name)
}
