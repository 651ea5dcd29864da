import { lchown, lstat, mkdir, opendir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { AppError, codeOf, messageOf } from '../registry/errors.ts'

/** The user a job runs as. `uid: null`: no other user is to be had, the job runs as the one who started the platform. */
export type SandboxUser = { uid: number; gid: number } | { uid: null; gid: null }
export type Purpose = 'build' | 'app'

const ownUser: SandboxUser = { uid: null, gid: null }

// Blocks of uids lie above what distributions, containers (/etc/subuid, systemd-nspawn: up to 1 879 048 191) and directory
// services (SSSD's default ends at 2 000 200 000) hand out, and below 2^31, where some programs take a uid for negative.
/** The lowest uid that an app or build may run as. */
export const firstUser = 2_010_000_000
const firstBlock = firstUser
const blockSize = 10_000
const blockCount = 10_000

const leaseRoot = '/var/lib/atelier-uids'

/**
 * The uid (= gid) that stands for one app and purpose on this host, the same at every call. As root the home leases a block of
 * uids, so that several platforms on one host never share one; `$home/uids.json` keeps which app has which. Anyone but root,
 * and systems other than Linux, get `{ uid: null }`. Throws SANDBOX_FAILED when no block or no uid is left.
 */
export async function leaseUser(
  { home }: { home: string },
  { purpose, app }: { purpose: Purpose; app: string },
): Promise<SandboxUser> {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') return ownUser
  const known = userIn(await readUids(home), purpose, app)
  if (known) return known

  return underHostLock(async () => {
    const uids = (await readUids(home)) ?? { base: await leaseBlock(home), apps: [] }
    await holdBlock(home, uids.base)
    if (!uids.apps.includes(app)) uids.apps.push(app)
    const user = userIn(uids, purpose, app)
    if (!user) throw new AppError('SANDBOX_FAILED', `all ${blockSize} uids of ${home} are in use`)
    await writeUids(home, uids)
    return user
  })
}

/** Gives a folder and all below it to the user; symlinks themselves, never what they point to. Nothing to do for one's own. */
export async function giveTo(path: string, user: SandboxUser): Promise<void> {
  if (user.uid === null) return
  await lchown(path, user.uid, user.gid)
  if (!(await lstat(path)).isDirectory()) return
  for await (const entry of await opendir(path, { recursive: true })) {
    await lchown(join(entry.parentPath, entry.name), user.uid, user.gid)
  }
}

type Uids = { base: number; apps: string[] }

const uidsFile = (home: string) => join(home, 'uids.json')

function userIn(uids: Uids | null, purpose: Purpose, app: string): SandboxUser | null {
  const place = uids?.apps.indexOf(app) ?? -1
  if (!uids || place < 0 || place * 2 + 1 >= blockSize) return null
  const uid = uids.base + place * 2 + (purpose === 'build' ? 1 : 0)
  return { uid, gid: uid }
}

async function readUids(home: string): Promise<Uids | null> {
  const text = await readFile(uidsFile(home), 'utf8').catch(ifMissing(null))
  if (text === null) return null
  const read: unknown = parseJson(text)
  if (typeof read === 'object' && read !== null && 'base' in read && 'apps' in read) {
    const { base, apps } = read
    if (typeof base === 'number' && Array.isArray(apps)) return { base, apps: apps.map(String) }
  }
  throw new AppError('HOME_UNUSABLE', `${uidsFile(home)} cannot be read as JSON; restore it from a backup`)
}

async function writeUids(home: string, uids: Uids): Promise<void> {
  const temporary = `${uidsFile(home)}.${process.pid}`
  await writeFile(temporary, `${JSON.stringify(uids)}\n`, { mode: 0o600, flush: true })
  await rename(temporary, uidsFile(home))
}

// One file a block, named by its first uid, holding the home it belongs to. A block whose home is gone is free again,
// unless a process still runs under one of its uids.
async function leaseBlock(home: string): Promise<number> {
  for (const base of await readdir(leaseRoot).catch(ifMissing([]))) {
    if ((await ownerOf(Number(base))) === null) await rm(join(leaseRoot, base), { force: true })
  }
  const avoid = await subordinateRanges()
  const live = await runningUids()
  const start = Math.floor(Math.random() * blockCount)
  for (let step = 0; step < blockCount; step++) {
    const base = firstBlock + ((start + step) % blockCount) * blockSize
    const busy = live.some((uid) => uid >= base && uid < base + blockSize)
    if (busy || avoid.some(([low, high]) => base < high && low < base + blockSize)) continue
    if ((await ownerOf(base)) === null) {
      await writeLease(home, base)
      return base
    }
  }
  throw new AppError('SANDBOX_FAILED', `every block of uids on this host is leased; see ${leaseRoot}`)
}

// The home's own record outlives the host's (a reinstalled host); another home's claim to the block does not yield.
async function holdBlock(home: string, base: number): Promise<void> {
  const owner = await ownerOf(base)
  if (owner === resolve(home)) return
  if (owner !== null)
    throw new AppError(
      'HOME_UNUSABLE',
      `${home} is a copy of ${owner}: both name the uids from ${base} their own. Remove ${uidsFile(home)}`,
    )
  await writeLease(home, base)
}

async function ownerOf(base: number): Promise<string | null> {
  const owner = await readFile(join(leaseRoot, String(base)), 'utf8').catch(ifMissing(null))
  if (owner === null) return null
  const alive = await stat(owner).then(() => true, ifMissing(false))
  return alive ? owner : null
}

async function writeLease(home: string, base: number): Promise<void> {
  await mkdir(leaseRoot, { recursive: true, mode: 0o700 })
  await rm(join(leaseRoot, String(base)), { force: true })
  await writeFile(join(leaseRoot, String(base)), resolve(home), { mode: 0o600, flag: 'wx', flush: true })
}

// An abstract socket is a lock that the kernel lets go of when its holder dies, however it dies.
async function underHostLock<Result>(work: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + 15_000
  for (;;) {
    const lock = createServer()
    const taken = await new Promise<Error | null>((settle) => {
      lock.once('error', settle)
      lock.listen('\0atelier-uids', () => settle(null))
    })
    if (!taken) {
      try {
        return await work()
      } finally {
        lock.close()
      }
    }
    if (codeOf(taken) !== 'EADDRINUSE' || performance.now() > deadline)
      throw new AppError('SANDBOX_FAILED', `cannot lease uids: ${messageOf(taken)}`, { cause: taken })
    await wait(10)
  }
}

async function subordinateRanges(): Promise<[number, number][]> {
  const texts = await Promise.all(
    ['/etc/subuid', '/etc/subgid'].map((file) => readFile(file, 'utf8').catch(ifMissing(''))),
  )
  return texts
    .join('\n')
    .split('\n')
    .map((line) => line.split(':').map(Number))
    .flatMap(([, low, count]): [number, number][] => (low && count ? [[low, low + count]] : []))
}

async function runningUids(): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const uids = await Promise.all(pids.map((pid) => stat(`/proc/${pid}`).then(({ uid }) => uid, ifMissing(0))))
  return uids.filter((uid) => uid >= firstBlock)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    if (cause instanceof SyntaxError) return null
    throw cause
  }
}

function ifMissing<Value>(value: Value): (thrown: unknown) => Value {
  return (thrown) => {
    const code = codeOf(thrown)
    if (code === 'ENOENT' || code === 'ESRCH') return value
    throw thrown
  }
}
