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
  if (name === 'bun') {
    const frozen = lockfile ? ['--frozen-lockfile'] : ['--no-save']
    const production = [['install', ...frozen, '--production']]
    return { full: [['install', ...frozen]], production, reduce: { fromFull: false, commands: production } }
  }
  if (isBerry) {
    const full = [['install', lockfile ? '--immutable' : '--no-immutable']]
    const focus = [['workspaces', 'focus', '--all', '--production']]
    return { full, production: [...full, ...focus], reduce: { fromFull: true, commands: focus } }
  }
  // It refuses every package that was not made for this Node, where the others warn.
  const classic = [
    ...['install', ...(lockfile ? ['--frozen-lockfile'] : [])],
    ...['--ignore-engines', '--non-interactive', '--no-progress'],
  ]
  return {
    full: [[...classic, '--production=false']],
    production: [[...classic, '--production=true']],
    reduce: { fromFull: true, commands: [[...classic, '--production=true', '--ignore-scripts', '--prefer-offline']] },
  }
}

/** As a person would write it: `npm ci`, `pnpm install --frozen-lockfile`. */
export function shownCommand(manager: PackageManager, args: string[]): string {
  const silent = [
    '--include=dev',
    '--prod=false',
    '--production=false',
    '--ignore-engines',
    '--non-interactive',
    '--no-progress',
    '--no-save',
  ]
  return [manager.name, ...args.filter((arg) => !silent.includes(arg))].join(' ')
}

const outdated = [
  /can only install packages when your package\.json and/,
  /ERR_PNPM_OUTDATED_LOCKFILE/,
  /Your lockfile needs to be updated/,
  /The lockfile would have been modified by this install/,
  /error: lockfile had changes, but lockfile is frozen/,
]

const absent = [
  /npm error 404\s+(?:The requested resource )?'(\S+)' (?:could not be found|is not in this registry)/,
  /^(\S+) is not in the npm registry/m,
  /error Couldn't find package "([^"]+)"/,
  /error: GET \S+\/(\S+) - 404/,
]

// In the words of each package manager for its own requests; scripts of packages say such things in other ways.
const network = '(?:E(?:CONN\\w+|TIMEDOUT|NOTFOUND|AI_AGAIN|NETUNREACH|HOSTUNREACH)|ERR_SOCKET_TIMEOUT|FETCH_ERROR)'
const unreachable = [
  new RegExp(`npm error code (${network}|E5\\d\\d)`),
  new RegExp(`ERR_PNPM_META_FETCH_FAIL.*?(${network}|timeout)`),
  /ERR_PNPM_FETCH_(5\d\d)/,
  /Request failed \\?"(5\d\d)/,
  new RegExp(`error .*\\b(${network})\\b`),
  new RegExp(`YN0001:.*\\b(${network})\\b`),
  /Response Code: (5\d\d)/,
  /error: (ConnectionRefused|ConnectionClosed|Timeout|FailedToOpenSocket) downloading/,
  /error: GET \S+ - (5\d\d)/,
]

/** The likely cause of a failed install, from what the package manager printed; null: its own words have to do. */
export function explainInstallFailure({ name, lockfile }: PackageManager, lines: string[]): string | null {
  const text = lines.join('\n')
  if (outdated.some((pattern) => pattern.test(text)))
    return `${lockfile} does not match package.json; run ${name} install, commit ${lockfile}, and push again`
  const wanted = absent.map((pattern) => pattern.exec(text)?.[1]).find(Boolean)
  if (wanted) return `the registry has no ${wanted}`
  const away = unreachable.map((pattern) => pattern.exec(text)?.[1]).find(Boolean)
  if (away)
    return `the package registry does not answer (${away}), though it was asked several times; what is live stays live: push again, or run atelier redeploy, when it does`
  const engines = /npm error code EBADDEVENGINES/.test(text) || /npm error code EBADENGINE/.test(text)
  if (engines) return 'npm refuses this Node or this npm, as engines or devEngines in package.json demand (see above)'
  const noVersion = /No matching version found for (\S+?)\.?(?:\s|$)/.exec(text)?.[1]
  return noVersion ? `the registry has no version ${noVersion}` : null
}
