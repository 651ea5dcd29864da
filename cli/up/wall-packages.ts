import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { messageOf } from '../../registry/errors.ts'
import { hostTool } from '../../sandbox/host-tools.ts'

const run = promisify(execFile)

/** Programs that the walls around apps are made of, with the Debian package of each. */
const programs = [
  { program: 'bwrap', name: 'bubblewrap' },
  { program: 'nft', name: 'nftables' },
  { program: 'ip', name: 'iproute2' },
]

/** Debian packages that would make the walls on this machine stronger, where this process may install them. */
export function missingWallPackages(): string[] {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version') || !hostTool('apt-get')) return []
  return programs.filter(({ program }) => hostTool(program) === null).map(({ name }) => name)
}

/** Installs them. Returns what went wrong, as a sentence, or null; what the platform does without them it says itself. */
export async function installWallPackages(packages: string[]): Promise<string | null> {
  const apt = (...args: string[]) =>
    run('apt-get', ['-o', 'Acquire::http::Timeout=10', '-o', 'DPkg::Lock::Timeout=60', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      timeout: 180_000,
    })
  const install = () => apt('install', '--quiet', '--yes', '--no-install-recommends', ...packages)
  try {
    // The lists of packages may be old or missing: asked for only when the first try fails.
    await install().catch(() => apt('update', '--quiet').then(install))
    const missing = missingWallPackages()
    return missing.length > 0 ? `${missing.join(' and ')} could not be installed; look at: apt-get install` : null
  } catch (thrown) {
    const why = messageOf(thrown).trim().split('\n').at(-1) ?? ''
    return `${packages.join(' and ')} could not be installed (${why}); run: apt-get install ${packages.join(' ')}`
  }
}
