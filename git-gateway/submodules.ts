import type { Git } from './git.ts'

// What a git of some version took for a command, or wrote into a config file as two lines (CVE-2018-17456, CVE-2025-48384).
const hostilePath = /^-|[\x00-\x1f\x7f]/
const hostileUrl = /^-|^[A-Za-z0-9+.-]+::|[\x00-\x1f\x7f]/

/**
 * The reason to refuse the `.gitmodules` of a commit, or null. Atelier fetches no submodules; a person who clones the app with
 * `--recurse-submodules` would. git's own check of pushed objects looks for some of this, according to its version.
 */
export async function refuseSubmodules(
  sha: string,
  { git, repository, env }: { git: Git; repository: string; env: Record<string, string> },
): Promise<string | null> {
  const { stdout } = await git.run(repository, ['config', '--blob', `${sha}:.gitmodules`, '--list', '-z'], { env })
  const hostile = stdout.split('\0').some((setting) => isHostile(setting))
  return hostile ? 'the .gitmodules of this commit hold an address or a path that could run a program' : null
}

// `<key>\n<value>`; the key ends in the variable's name, which is in lower case.
function isHostile(setting: string): boolean {
  const end = setting.indexOf('\n')
  const name = setting.slice(0, end).split('.').at(-1)
  const value = setting.slice(end + 1)
  if (name === 'update') return value.startsWith('!')
  return name === 'url' ? hostileUrl.test(value) : name === 'path' && hostilePath.test(value)
}
