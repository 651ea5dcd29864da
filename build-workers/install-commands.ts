import type { PackageManager } from './package-manager.ts'

/** Argument lists of a package manager, run one after the other. */
export type InstallCommands = {
  /** Everything, devDependencies too. */
  full: string[][]
  /** What runs in production, from nothing. */
  production: string[][]
  /** What runs in production, in a folder with the project's package files; `fromFull`: and with everything installed there. */
  reduce: { fromFull: boolean; commands: string[][] }
}

/** Exactly what the lockfile says; without one, whatever package.json allows. */
export function installCommands({ name, isBerry, lockfile }: PackageManager): InstallCommands {
  if (name === 'npm') {
    const verb = lockfile ? 'ci' : 'install'
    return {
      full: [[verb, '--include=dev']],
      production: [[verb, '--omit=dev']],
      // Scripts of dependencies ran when everything was installed; the project's own may need what is removed here.
      reduce: { fromFull: true, commands: [['prune', '--omit=dev', '--ignore-scripts']] },
    }
  }
  if (name === 'pnpm') {
    const frozen = lockfile ? '--frozen-lockfile' : '--no-frozen-lockfile'
    return {
      full: [['install', frozen, '--prod=false']],
      production: [['install', frozen, '--prod']],
      reduce: {
        fromFull: false,
        commands: [['install', frozen, '--prod', '--ignore-scripts', '--prefer-offline'], ['rebuild']],
      },
    }
  }
  if (isBerry) {
    const full = [['install', lockfile ? '--immutable' : '--no-immutable']]
    const focus = [['workspaces', 'focus', '--production']]
    return { full, production: [...full, ...focus], reduce: { fromFull: true, commands: focus } }
  }
  const classic = ['install', ...(lockfile ? ['--frozen-lockfile'] : []), '--non-interactive', '--no-progress']
  return {
    full: [[...classic, '--production=false']],
    production: [[...classic, '--production=true']],
    reduce: { fromFull: true, commands: [[...classic, '--production=true', '--ignore-scripts', '--prefer-offline']] },
  }
}

/** As a person would write it: `npm ci`, `pnpm install --frozen-lockfile`. */
export function shownCommand(manager: PackageManager, args: string[]): string {
  const silent = ['--include=dev', '--prod=false', '--production=false', '--non-interactive', '--no-progress']
  return [manager.name, ...args.filter((arg) => !silent.includes(arg))].join(' ')
}

const outdated = [
  /can only install packages when your package\.json and/,
  /ERR_PNPM_OUTDATED_LOCKFILE/,
  /Your lockfile needs to be updated/,
  /The lockfile would have been modified by this install/,
]

const absent = [
  /npm error 404\s+(?:The requested resource )?'(\S+)' (?:could not be found|is not in this registry)/,
  /^(\S+) is not in the npm registry/m,
  /error Couldn't find package "([^"]+)"/,
]

/** The likely cause of a failed install, from what the package manager printed; null: its own words have to do. */
export function explainInstallFailure({ name, lockfile }: PackageManager, lines: string[]): string | null {
  const text = lines.join('\n')
  if (outdated.some((pattern) => pattern.test(text)))
    return `${lockfile} does not match package.json; run ${name} install, commit ${lockfile}, and push again`
  const wanted = absent.map((pattern) => pattern.exec(text)?.[1]).find(Boolean)
  if (wanted) return `the registry has no ${wanted}`
  const noVersion = /No matching version found for (\S+?)\.?(?:\s|$)/.exec(text)?.[1]
  return noVersion ? `the registry has no version ${noVersion}` : null
}
