import { chmod, mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Config } from '../../registry/config.ts'
import { AppError, codeOf, messageOf } from '../../registry/errors.ts'

/** Where things are in the home; the roles know the same names through their own modules. */
export type Home = {
  path: string
  addressFile: string
  adminTokenFile: string
  postgresDir: string
  postgresPasswords: string
  socketDir: string
  /** The same two of the server that holds the databases of apps. */
  appsPostgresDir: string
  appsSocketDir: string
  runtimeDir: string
  compileCache: string
  processesFile: string
  logFile(name: string): string
}

// An isolate's socket has the longest name below the run directory.
const longestSocket = 'i/abcdefghijkl.9999.sock'
const socketPathBytes = process.platform === 'linux' ? 107 : 103

// Other users (of apps and builds, and Postgres when started by root) must pass through these to what is theirs.
const passable = ['', 'run', 'builds', 'cache', 'edge', 'runtime']
const closed = ['secrets', 'git', 'store', 'log', 'compiled']

/** Makes the home and its rooms, with their modes. Throws HOME_UNUSABLE when it cannot be used, in one sentence with the way out. */
export async function prepareHome({ home, runDir }: Config): Promise<Home> {
  refuseLongPath(home, runDir)
  const asRoot = process.getuid?.() === 0
  try {
    for (const name of passable) await makeDirectory(join(home, name), asRoot ? 0o711 : 0o700)
    for (const name of closed) await makeDirectory(join(home, name), 0o700)
    await proveWritable(home)
  } catch (cause) {
    throw new AppError('HOME_UNUSABLE', `the home ${home} cannot be used: ${reasonOf(cause)}`, { cause })
  }
  if (asRoot) await refuseClosedParent(home)
  return layout(home, runDir)
}

function layout(home: string, runDir: string): Home {
  return {
    path: home,
    addressFile: join(home, 'atelier.json'),
    adminTokenFile: join(home, 'admin-token'),
    postgresDir: join(home, 'postgres'),
    postgresPasswords: join(home, 'secrets/postgres.json'),
    socketDir: join(runDir, 'pg'),
    appsPostgresDir: join(home, 'apps-postgres'),
    appsSocketDir: join(runDir, 'apps-pg'),
    runtimeDir: join(home, 'runtime'),
    compileCache: join(home, 'compiled'),
    processesFile: join(runDir, 'processes.json'),
    logFile: (name) => join(home, 'log', `${name}.log`),
  }
}

function refuseLongPath(home: string, runDir: string): void {
  const tooMany = Buffer.byteLength(join(runDir, longestSocket)) - socketPathBytes
  if (tooMany <= 0) return
  throw new AppError(
    'HOME_UNUSABLE',
    `the path of the home ${home} is ${tooMany} bytes too long for the unix sockets below it; choose a shorter ATELIER_HOME`,
  )
}

async function makeDirectory(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode })
  await chmod(path, mode)
}

async function proveWritable(home: string): Promise<void> {
  const probe = join(home, `.probe-${process.pid}`)
  await writeFile(probe, 'atelier', { mode: 0o600 })
  await rm(probe)
}

// Started by root, Postgres and every app run as users of their own; they must be able to walk to what is theirs.
async function refuseClosedParent(home: string): Promise<void> {
  for (let at = dirname(home); ; at = dirname(at)) {
    const { mode } = await stat(at)
    if (!(mode & 0o001)) {
      const shown = (mode & 0o777).toString(8)
      throw new AppError(
        'HOME_UNUSABLE',
        `the home ${home} lies below ${at}, which is closed to other users (mode ${shown}), and as root Atelier runs the database and apps as users of their own; choose another ATELIER_HOME, such as /var/lib/atelier`,
      )
    }
    if (at === dirname(at)) return
  }
}

function reasonOf(thrown: unknown): string {
  const remedy = 'choose another directory with ATELIER_HOME'
  switch (codeOf(thrown)) {
    case 'EACCES':
    case 'EPERM':
      return `this user may not write there; ${remedy}, or give it to this user with chown`
    case 'EROFS':
      return `it is on a read-only file system; ${remedy}`
    case 'ENOSPC':
      return 'the disk is full; free some space'
    case 'EEXIST':
    case 'ENOTDIR':
      return `a file stands in its way; ${remedy}`
    default:
      return `${messageOf(thrown)}; ${remedy}`
  }
}
