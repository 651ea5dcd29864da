import { access, chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError } from '../registry/errors.ts'
import { launch } from '../sandbox/launch.ts'
import { LineSplitter } from '../sandbox/lines.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import { removeAs } from '../sandbox/remove-as.ts'
import { giveTo, type SandboxUser } from '../sandbox/users.ts'

export type CopyDeps = {
  appNetworks: Promise<AppNetworks>
  user: SandboxUser
  limits: { timeoutMs: number; memoryMb: number; diskMb: number }
  signal: AbortSignal
}

/**
 * Copies what is in one database into another, which is empty: as it is at one moment, while others go on with it, and whole or not at all. By pg_dump and pg_restore, behind
 * the walls and as the roles of the two, for what they read is the app's. Throws PROVISION_FAILED.
 */
export async function copyDatabase(
  { from, to, serverMajor }: { from: DatabaseAccess; to: DatabaseAccess; serverMajor: number },
  deps: CopyDeps,
): Promise<void> {
  const tools = await findTools(serverMajor)
  if (!tools) throw new AppError('PROVISION_FAILED', missing(serverMajor))
  const folder = await mkdtemp(join(tmpdir(), 'atl-copy-'))
  try {
    await giveTo(folder, deps.user)
    await chmod(folder, 0o700)
    const own = ['--no-owner', '--no-privileges']
    await run(`${tools}/pg_dump`, ['--format=custom', ...own, '--file=dump'], { folder, database: from }, deps)
    const whole = ['--single-transaction', '--exit-on-error', `--dbname=${to.name}`, 'dump']
    await run(`${tools}/pg_restore`, [...own, ...whole], { folder, database: to }, deps)
  } finally {
    await removeAs(deps.user, [folder], folder)
    await rm(folder, { recursive: true, force: true })
  }
}

async function run(
  file: string,
  args: string[],
  { folder, database }: { folder: string; database: DatabaseAccess },
  { appNetworks, user, limits, signal }: CopyDeps,
): Promise<void> {
  const { namespace, resolvers, env, release } = await (await appNetworks).lease({ database })
  const said: string[] = []
  const lines = new LineSplitter((line) => void said.push(line))
  try {
    const launched = await launch({
      name: 'copy of a database',
      ...{ file, args, cwd: folder, user, limits, signal },
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', HOME: folder, ...libpqOf(env['DATABASE_URL'] ?? '') },
      ...(namespace && { network: namespace }),
      ...(resolvers && { resolvers }),
      onOutput: (_, chunk) => lines.push(chunk),
    })
    const { code } = await launched.exited
    lines.end()
    signal.throwIfAborted()
    if (code === 0) return
    const why = said.find((line) => /error/.test(line)) ?? said[0] ?? `ended with ${code}`
    throw new AppError(
      'PROVISION_FAILED',
      `production's database cannot be copied for the preview: ${why.slice(0, 300)}`,
    )
  } finally {
    release()
  }
}

// A command line can be read by every user of the host.
function libpqOf(url: string): Record<string, string> {
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    PGHOST: hostname,
    PGPORT: port,
    PGUSER: username,
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: pathname.slice(1),
  }
}

// Where Debian's and PostgreSQL's own packages have them; a pg_dump copies no server that is newer than itself.
async function findTools(serverMajor: number): Promise<string | null> {
  const debian = (await readdir('/usr/lib/postgresql').catch(() => [])).map((name) => `/usr/lib/postgresql/${name}/bin`)
  const others = (await readdir('/usr').catch(() => []))
    .filter((name) => /^pgsql-\d+$/.test(name))
    .map((name) => `/usr/${name}/bin`)
  const found = [...debian, ...others]
    .map((bin) => ({ bin, major: Number(/(\d+)\/bin$/.exec(bin)?.[1]) }))
    .filter(({ major }) => major >= serverMajor)
    .sort((one, other) => one.major - other.major)
  for (const { bin } of found) {
    const isWhole = await Promise.all(['pg_dump', 'pg_restore'].map((name) => access(join(bin, name)))).then(
      () => true,
      () => false,
    )
    if (isWhole) return bin
  }
  return null
}

function missing(major: number): string {
  return (
    `database.preview is 'template', and to copy a Postgres ${major} takes its pg_dump and pg_restore, which this machine does not have ` +
    `(Debian, with PostgreSQL's own repository: apt-get install postgresql-client-${major}); or set it to 'empty'`
  )
}
