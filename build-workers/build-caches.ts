import { randomUUID } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { findPresentApps } from '../registry/apps.ts'
import type { Config } from '../registry/config.ts'
import { codeOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { listForkLabels } from '../registry/previews.ts'
import type { Sql } from '../registry/sql.ts'
import { forgetLostModules } from '../registry/unpacked-modules.ts'
import { diskUsage } from '../sandbox/disk-usage.ts'
import type { SandboxUser } from '../sandbox/users.ts'
import { DependencyCache } from './dependency-cache.ts'
import { FrameworkCache } from './framework-cache.ts'
import { buildUser, cacheFolderOf, isCacheFolder, isOfFork, type Standing } from './standing.ts'
import { makeFor, removeAs } from './workspace.ts'

/** Where the builds of one app and standing keep what makes the next one faster. */
export type AppCaches = {
  /** The build's own, and writable for it: what its package manager downloads. */
  downloads: string
  /** The platform's, and given out as links: installed dependencies. */
  modules: string
  /** The platform's, and moved into a build and out again: what frameworks keep. */
  frameworks: string
}

/** What is kept or dropped as a whole. */
type Entry = { app: string; standing: string; path: string; usedAt: number; bytes: number }

const usedFile = 'used'
const mb = 1_048_576

/**
 * The caches of all apps' builds on this machine, each app's apart from every other's, and in an app those of each standing (standing.ts) apart: what one
 * standing keeps is never given to another, for it is what builds have made of it. They are bounded, for an app and in all: what forks have left goes
 * first, and what was used least recently; never while a build of its app is under way. Caches lie in a folder that has a new name
 * once they are thrown away: whoever is still at work in the old one finds it whole.
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

  /**
   * The caches of an app for one build, until it is disposed. `afresh`: without what earlier builds of that standing have left, which is thrown away.
   */
  async use(
    app: string,
    { standing, user, afresh }: { standing: Standing; user: SandboxUser; afresh: boolean },
  ): Promise<AppCaches & AsyncDisposable> {
    this.#inUse.set(app, (this.#inUse.get(app) ?? 0) + 1)
    const release = async () => {
      const left = (this.#inUse.get(app) ?? 1) - 1
      if (left > 0) this.#inUse.set(app, left)
      else this.#inUse.delete(app)
      if (left === 0) await this.trim()
    }
    try {
      const folder = join(this.#apps, app, cacheFolderOf(standing))
      return { ...(await this.#open(folder, user, afresh)), [Symbol.asyncDispose]: release }
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
      for (const standing of await this.#standingsOf(app))
        for (const name of (await namesIn(join(this.#apps, app, standing))).filter(isGeneration)) {
          const generation = join(this.#apps, app, standing, name)
          const { modules, frameworks } = placesIn(generation)
          await new DependencyCache(modules).sweep()
          await FrameworkCache.sweep(frameworks)
          await removeHalfMade(generation)
        }
    await removeHalfMade(this.tools)
  }

  /** Removes the caches of apps and of forks' previews that are gone, those that were thrown away, and what is more than the limits. */
  trim(): Promise<void> {
    this.#trimming = this.#trimming
      .then(() => this.#trim())
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'caches of builds not trimmed, tried again later'))
    return this.#trimming
  }

  async #open(own: string, user: SandboxUser, afresh: boolean): Promise<AppCaches> {
    await mkdir(own, { recursive: true })
    // A name that no build of another standing can find out: where walls are weak, all builds may run as one user.
    if (afresh || !(await generationIn(own))) await writeWhole(join(own, 'generation'), newGeneration())
    const generation = join(own, (await generationIn(own)) ?? '')
    await mkdir(generation, { recursive: true })
    const above = [join(this.#apps, '..'), this.#apps, dirname(own), own]
    await Promise.all([...above, generation].map((folder) => chmod(folder, 0o711)))
    const places = placesIn(generation)
    await makeFor(user, places.downloads)
    return places
  }

  /** The folders of those that have built. */
  async #standingsOf(app: string): Promise<string[]> {
    return (await foldersIn(join(this.#apps, app))).filter(isCacheFolder)
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
        await this.#removeGoneForks(app)
        await this.#removeOldGenerations(app)
        entries.push(...(await this.#keepWithin(config.buildCaches.appMb * mb, await this.#entriesOf(app))))
      }
    }
    await this.#keepWithin(config.buildCaches.totalMb * mb, entries)
  }

  // Whose preview is gone: nobody builds with them again.
  async #removeGoneForks(app: string): Promise<void> {
    const ofForks = (await this.#standingsOf(app)).filter(isOfFork)
    if (ofForks.length === 0) return
    const labels = await listForkLabels(this.#deps.sql, app)
    const wanted = new Set(labels.map((of) => cacheFolderOf({ kind: 'fork', of })))
    for (const standing of ofForks.filter((folder) => !wanted.has(folder))) {
      await this.#removeGenerations(app, standing)
      await rm(join(this.#apps, app, standing), { recursive: true, force: true })
    }
  }

  async #keepWithin(bytes: number, entries: Entry[]): Promise<Entry[]> {
    let sum = entries.reduce((total, entry) => total + entry.bytes, 0)
    const kept: Entry[] = []
    for (const entry of entries.toSorted(byWhatGoesFirst)) {
      if (sum <= bytes || this.#inUse.has(entry.app)) kept.push(entry)
      else {
        sum -= entry.bytes
        await this.#remove(entry.app, entry.standing, [entry.path])
        await rm(`${entry.path}.json`, { force: true })
        this.#deps.log.info({ app: entry.app, bytes: entry.bytes }, 'cache of builds dropped: over the limit')
      }
    }
    return kept
  }

  async #entriesOf(app: string): Promise<Entry[]> {
    const standings = await this.#standingsOf(app)
    return (await Promise.all(standings.map((standing) => this.#entriesIn(app, standing)))).flat()
  }

  async #entriesIn(app: string, standing: string): Promise<Entry[]> {
    const folder = join(this.#apps, app, standing)
    const { downloads, modules, frameworks } = placesIn(join(folder, (await generationIn(folder)) ?? '-'))
    const entry = async (path: string, mark: string, isAsBefore: string): Promise<Entry> => {
      const usedAt = await usedAtOf(mark)
      return { app, standing, path, usedAt, bytes: await this.#measure(path, isAsBefore || String(usedAt)) }
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
    await this.#removeGenerations(app, beforeStandings)
    await forgetLostModules(this.#deps.config.home, app)
    for (const standing of await this.#standingsOf(app)) {
      const current = await generationIn(join(this.#apps, app, standing))
      await this.#removeGenerations(app, standing, current)
    }
  }

  async #removeApp(app: string): Promise<void> {
    for (const standing of [beforeStandings, ...(await this.#standingsOf(app))])
      await this.#removeGenerations(app, standing)
    await rm(join(this.#apps, app), { recursive: true, force: true })
  }

  async #removeGenerations(app: string, standing: string, but: string | null = null): Promise<void> {
    const folder = join(this.#apps, app, standing)
    for (const name of (await foldersIn(folder)).filter((found) => isGeneration(found) && found !== but)) {
      // Gone in one step for whoever is linking what lies in it (unpacked-modules.ts).
      const going = join(folder, newGeneration())
      await rename(join(folder, name), going)
      const { downloads, frameworks } = placesIn(going)
      const ofBuilds = [downloads, ...(await foldersIn(frameworks)).map((as) => join(frameworks, as))]
      await this.#remove(app, standing || 'production', ofBuilds)
      await rm(going, { recursive: true, force: true })
    }
  }

  async #remove(app: string, standing: string, paths: string[]): Promise<void> {
    const user = await buildUser(this.#deps.config, app, standing)
    const going = await Promise.all(paths.map(setAside))
    await removeAs(user, going, join(this.#apps, app))
    for (const path of going) await rm(path, { recursive: true, force: true })
    for (const path of paths) this.#sizes.delete(path)
  }
}

/** Where an app's caches lay before those of previews lay apart. */
const beforeStandings = ''

// Builds of forks push nothing out that is an app's own.
function byWhatGoesFirst(a: Entry, b: Entry): number {
  return Number(isOfFork(b.standing)) - Number(isOfFork(a.standing)) || a.usedAt - b.usedAt
}

async function removeHalfMade(folder: string): Promise<void> {
  for (const name of await namesIn(folder))
    if (name.startsWith('.making-')) await rm(join(folder, name), { recursive: true, force: true })
}

function newGeneration(): string {
  return `g${randomUUID().replaceAll('-', '')}`
}

// What is left of it is swept at the next start.
async function setAside(path: string): Promise<string> {
  const aside = join(dirname(path), `.making-${randomUUID()}`)
  await rename(path, aside).catch(ifMissing(undefined))
  return aside
}

async function generationIn(folder: string): Promise<string | null> {
  const text = await readFile(join(folder, 'generation'), 'utf8').catch(ifMissing(''))
  return isGeneration(text) ? text : null
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
  return /^g([0-9a-f]{8}|[0-9a-f]{32})$/.test(name)
}
