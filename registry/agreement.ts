import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readWhole } from './bundle-store/bundles.ts'
import type { BundleStore } from './bundle-store/contract.ts'
import { platformMarkKey } from './bundle-store/keys.ts'
import type { Config } from './config.ts'
import { AppError, codeOf } from './errors.ts'
import { newId } from './ids.ts'
import { findKey, type Key, loadKey, opens, seal } from './secrets.ts'
import type { Db, Sql } from './sql.ts'

// What the parts of a platform must have in common. Each of these, when it differs, would be found out only by builds that fail or variables
// that do not open; so whoever comes first leaves a mark in the database, and whoever comes later compares.
const lockKey = 7_283_645_502
const keyContext = 'agreement'

/** The key of this machine is the platform's; the first part of a platform makes one if there is none. Throws CONFIG_ENV. */
export async function agreeOnKey(sql: Sql, config: Pick<Config, 'home' | 'key'>): Promise<void> {
  await underLock(sql, async (tx) => {
    const mark = await readMark(tx, 'key')
    if (mark === null) {
      const key = await loadKey(config)
      return setMark(tx, 'key', seal(key, keyContext, 'atelier').toString('base64'))
    }
    const key = await findKey(config)
    const way =
      'set ATELIER_KEY to the platform’s key (the file secrets/key in the home of the part that was started first)'
    if (key === null)
      throw new AppError('CONFIG_ENV', `this platform has a key, and this machine does not have it; ${way}`)
    if (opens(key, keyContext, Buffer.from(mark, 'base64'))) return
    const where = config.key === null ? join(config.home, 'secrets/key') : 'ATELIER_KEY'
    throw new AppError('CONFIG_ENV', `the key in ${where} is not this platform’s; ${way}`)
  })
}

/** The key that seals now is the platform's: parts that do not have it are told so when they start. */
export async function markKey(sql: Sql, key: Key): Promise<void> {
  await underLock(sql, (tx) => setMark(tx, 'key', seal(key, keyContext, 'atelier').toString('base64')))
}

/** The store named here is the one the other parts use. Throws CONFIG_ENV, STORE_UNAVAILABLE. */
export async function agreeOnStore(sql: Sql, store: BundleStore, storeUrl: string): Promise<void> {
  const found = (await store.has([platformMarkKey])).has(platformMarkKey)
  if (!found) await store.put(platformMarkKey, Buffer.from(newId()))
  const own = (await readWhole(store, platformMarkKey)).toString('utf8')
  await agree(sql, 'store', own, () => {
    const shown = storeUrl.replace(/\/\/[^@/]*@/, '//')
    return `the bundle store ${shown} is not the one the other parts of this platform use; set ATELIER_STORE_URL to one that all machines reach, the same for every part`
  })
}

/** The repositories in this home are the platform's: a second gateway would refuse, or undo, what was pushed to the first. Throws CONFIG_ENV. */
export async function agreeOnRepositories(sql: Sql, home: string): Promise<void> {
  const directory = join(home, 'git')
  const path = join(directory, 'platform')
  const kept = await readFile(path, 'utf8').catch((thrown: unknown) => {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  })
  const own = kept?.trim() ?? newId()
  if (kept === null) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeFile(path, `${own}\n`, { mode: 0o600, flush: true })
  }
  await agree(
    sql,
    'repositories',
    own,
    () =>
      `the repositories of this platform are in the home of another gateway, and there is one gateway to a platform; stop this one, or bring that git directory to ${directory}`,
  )
}

async function agree(sql: Sql, name: string, own: string, problem: () => string): Promise<void> {
  await underLock(sql, async (tx) => {
    const mark = await readMark(tx, name)
    if (mark === own) return
    // Nothing was ever deployed, so nothing is lost: who set it up wrong at first may set it right.
    const [used] = await tx`select from deployments limit 1`
    if (mark !== null && used) throw new AppError('CONFIG_ENV', problem())
    await setMark(tx, name, own)
  })
}

async function underLock(sql: Sql, work: (tx: Db) => Promise<void>): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${lockKey})`
    await work(tx)
  })
}

async function readMark(tx: Db, name: string): Promise<string | null> {
  const [agreed] = await tx<{ mark: string }[]>`
    select mark
    from agreements
    where name = ${name}
  `
  return agreed?.mark ?? null
}

async function setMark(tx: Db, name: string, mark: string): Promise<void> {
  await tx`
    insert into agreements (name, mark)
    values (${name}, ${mark})
    on conflict (name) do update
    set mark = excluded.mark,
        at = now()
  `
}
