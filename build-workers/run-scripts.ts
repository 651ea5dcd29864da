import type { PackageJson } from './package-json.ts'

const deepest = 5
const script = '([A-Za-z0-9_.:/-]+)'
const runsScript = new RegExp(
  `^(?:npm(?:\\s+(?:-s|--silent))*\\s+(?:run(?:-script)?(?:\\s+(?:-s|--silent))*\\s+${script}|(start))|(?:yarn|pnpm)(?:\\s+(?:-s|--silent))*(?:\\s+run)?\\s+${script})(?:\\s+(?:--\\s+)?(.+))?$`,
)
const runsProgram =
  /^(?:npx|pnpm\s+exec|yarn\s+exec|npm\s+exec(?:\s+--)?)\s+(?:(?:-y|--yes|--no|--no-install)\s+)*([^-@\s][^@\s]*(?:\s.*)?)$/

/**
 * A command with the scripts of package.json that it runs put in their place: `npm start` → `node server.js`. A package manager between the
 * app and its end of life costs 60 MB and passes SIGTERM on a second time. Runs of the build script are left out: the build has been made by
 * then, and the folder it writes to is closed. `cross-env` in front becomes what it stands for.
 */
export function expandScripts(command: string, pkg: PackageJson | null, depth = 0): string {
  const parts = command.split('&&').map((part) => part.trim())
  // A quote or a bracket that the parts share makes them one command.
  if (parts.some((part) => !isWhole(part))) return command
  const kept = parts.filter((part, at) => at === parts.length - 1 || !runsBuild(part, pkg))
  return kept.map((part) => expandPart(part, { pkg, depth, isAlone: kept.length === 1 })).join(' && ')
}

function expandPart(
  part: string,
  { pkg, depth, isAlone }: { pkg: PackageJson | null; depth: number; isAlone: boolean },
): string {
  const plain = part.replace(/^cross-env\s+(?=[A-Za-z_]\w*=)/, '')
  const name = depth < deepest ? scriptOf(plain, pkg) : null
  if (name === null) return runsProgram.exec(plain)?.[1] ?? plain
  const text = pkg?.scripts[name.script] ?? ''
  const before = pkg?.scripts[`pre${name.script}`]
  const whole = [before && !runsBuild(before, pkg) ? before : '', [text, name.args].filter(Boolean).join(' ')]
  const expanded = expandScripts(whole.filter(Boolean).join(' && '), pkg, depth + 1)
  return isAlone || !/[&|;]/.test(expanded) ? expanded : `(${expanded})`
}

function scriptOf(part: string, pkg: PackageJson | null): { script: string; args: string } | null {
  if (/[|;<>&]/.test(part)) return null
  const [, byNpm, start, byOther, args = ''] = runsScript.exec(part) ?? []
  const script = byNpm ?? start ?? byOther
  return script !== undefined && pkg?.scripts[script] ? { script, args } : null
}

function runsBuild(part: string, pkg: PackageJson | null): boolean {
  const build = pkg?.scripts['build']
  return build !== undefined && (part.trim() === build.trim() || scriptOf(part.trim(), pkg)?.script === 'build')
}

function isWhole(part: string): boolean {
  const bare = part.replace(/'[^']*'|"[^"]*"/g, '')
  return !/['"]/.test(bare) && (bare.match(/\(/g)?.length ?? 0) === (bare.match(/\)/g)?.length ?? 0)
}
