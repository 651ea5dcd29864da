import { chmod, lstat, mkdir, readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, codeOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import { findGoneRoutes } from '../../registry/routes.ts'
import { every } from '../../registry/schedule.ts'
import type { Sql } from '../../registry/sql.ts'
import { diskUsage } from '../../sandbox/disk-usage.ts'
import { removeAs } from '../../sandbox/remove-as.ts'
import { giveTo, type SandboxUser } from '../../sandbox/users.ts'

export type DataFoldersDeps = { home: string; limitMb: number; sql: Sql; log: Log; lookEveryMs?: number }

type Used = { say: (line: string) => void; isTold: boolean; measureAt: number }

const lookEveryMs = 60_000
/** A folder of a million files takes seconds to measure: the next time is this many times as long after it. */
const restPerWork = 200

/**
 * The folders that apps find at /data, one for each route: named by the route's id, which no app ever has again, and not by the app's name, which may be given
 * anew. What is in them is the app's: the platform lists it and follows nothing, and removes it as the app's own user when the route is gone.
 */
export class DataFolders {
  readonly #root: string
  readonly #deps: DataFoldersDeps
  readonly #used = new Map<string, Used>()
  readonly #left = new Set<string>()
  #present: string[] = []
  readonly #looking: ReturnType<typeof every>

  constructor(deps: DataFoldersDeps) {
    this.#deps = deps
    this.#root = join(deps.home, 'data')
    const everyMs = deps.lookEveryMs ?? lookEveryMs
    this.#looking = every(everyMs, () => this.look(), { log: deps.log, name: 'data folders' })
  }

  /**
   * The folder of a route, made for its user when it is not there yet; `say` takes a line for the app's log when it grows too large. Throws HOME_UNUSABLE when it
   * is another user's: nothing is given away that may be shared by links.
   */
  async open(routeId: string, user: SandboxUser, say: (line: string) => void): Promise<string> {
    const folder = join(this.#root, nameOf(routeId))
    await mkdir(this.#root, { recursive: true })
    await chmod(this.#root, 0o711)
    if (await isMade(folder)) await giveTo(folder, user)
    const { uid } = await lstat(folder)
    if (user.uid !== null && uid !== user.uid) {
      const message = `the app's data in ${folder} belongs to user id ${uid}, and the app is ${user.uid} by now; chown -hR ${user.uid}:${user.gid} ${folder}`
      throw new AppError('HOME_UNUSABLE', message)
    }
    this.#present.push(routeId)
    this.#used.set(routeId, { isTold: false, measureAt: 0, ...this.#used.get(routeId), say })
    return folder
  }

  /** Removes the folders of routes that are gone, and tells apps whose folder is too large; done every minute by itself. */
  async look(): Promise<void> {
    const ids = (await readdir(this.#root).catch(nullIfGone)) ?? []
    for (const { id, begunAt } of await findGoneRoutes(this.#deps.sql, ids))
      if (await this.#isOlder(id, begunAt)) this.#leave(id)
      else await this.#remove(id)
    this.#present = ids
    for (const [id, used] of this.#used) await this.#measure(id, used)
  }

  /** The routes as they are now: of one that is gone the folder is removed soon. */
  follow(routes: { id: string }[]): void {
    const there = new Set(routes.map(({ id }) => id))
    const gone = this.#present.filter((id) => !there.has(id))
    if (gone.length === 0) return
    this.#present = this.#present.filter((id) => there.has(id))
    this.#looking.soon()
  }

  async close(): Promise<void> {
    await this.#looking.close()
  }

  // A database that was begun after the folder was made is not the one its route was in: another one by mistake, or made anew after a loss.
  async #isOlder(id: string, begunAt: Date): Promise<boolean> {
    const made = await lstat(join(this.#root, id)).catch(nullIfGone)
    // 0: the file system does not say.
    return made !== null && made.birthtimeMs > 0 && made.birthtime < begunAt
  }

  #leave(id: string): void {
    if (this.#left.has(id)) return
    this.#left.add(id)
    this.#deps.log.warn({ route: id }, 'data is older than the database and of no route in it: left, remove it by hand')
  }

  async #remove(id: string): Promise<void> {
    const { log } = this.#deps
    const folder = join(this.#root, id)
    try {
      const { uid, gid } = await lstat(folder)
      const isRoot = process.getuid?.() === 0
      // Root's own is one that no app was ever given. The folder itself is in one of the platform's, and stays for the platform to remove.
      if (!isRoot || uid !== 0) await removeAs(isRoot ? { uid, gid } : { uid: null, gid: null }, [folder], folder)
      await rmdir(folder).catch(nullIfGone)
      this.#used.delete(id)
      log.info({ route: id }, 'data of a removed app or preview removed')
    } catch (err) {
      log.warn({ err, route: id }, 'data not removed, tried again later')
    }
  }

  async #measure(id: string, used: Used): Promise<void> {
    if (performance.now() < used.measureAt) return
    const started = performance.now()
    const { limitMb, log } = this.#deps
    const limit = limitMb * 1_048_576
    const isOver = (await diskUsage([join(this.#root, id)], limit)) > limit
    if (isOver && !used.isTold) {
      used.say(`/data holds more than ${limitMb} MB (ATELIER_APP_DATA_MB on the server); remove what is not needed`)
      log.warn({ route: id, limitMb }, 'data of an app is larger than it should be')
    }
    used.isTold = isOver
    used.measureAt = performance.now() + restPerWork * (performance.now() - started)
  }
}

async function isMade(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { mode: 0o700 })
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'EEXIST') return false
    throw thrown
  }
}

function nullIfGone(thrown: unknown): null {
  if (codeOf(thrown) === 'ENOENT') return null
  throw thrown
}

function nameOf(routeId: string): string {
  if (/^[a-z0-9]{6,32}$/.test(routeId)) return routeId
  throw new AppError('INTERNAL', `${JSON.stringify(routeId)} is no id of a route`)
}
