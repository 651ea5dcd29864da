import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { codeOf } from '../../../registry/errors.ts'
import { type Check, fail, ok } from './check.ts'

const run = promisify(execFile)
const oldestGit = [2, 29] as const

export function checkNode(version = process.versions.node): Check {
  if (Number(version.split('.')[0]) >= 26) return ok('node', `Node ${version}`)
  return fail('node', `Node ${version} is too old`, 'run npm ci with optional dependencies: it brings Node 26 along')
}

export async function checkGit(): Promise<Check> {
  const install = 'install git 2.29 or newer: apt-get install git'
  try {
    const { stdout } = await run('git', ['--version'], { timeout: 5000 })
    const [, major = '0', minor = '0'] = /(\d+)\.(\d+)/.exec(stdout) ?? []
    const isNewEnough =
      Number(major) > oldestGit[0] || (Number(major) === oldestGit[0] && Number(minor) >= oldestGit[1])
    if (isNewEnough) return ok('git', stdout.trim())
    return fail('git', `${stdout.trim()} is too old: pushes need proc-receive, which came with 2.29`, install)
  } catch (thrown) {
    return fail('git', codeOf(thrown) === 'ENOENT' ? 'there is no git' : 'git does not run', install)
  }
}
