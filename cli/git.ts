import { execFile } from 'node:child_process'
import { Failure } from './failure.ts'

export type GitResult = { code: number; stdout: string; stderr: string }

/** The names of every file of a large repository fit in. */
const maxOutputBytes = 256 * 1_048_576

/** Runs git with these arguments; a non-zero exit code is an answer, not an error. Throws when there is no git. */
export function git(args: string[], { input, cwd }: { input?: string; cwd?: string } = {}): Promise<GitResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      'git',
      args,
      { cwd, encoding: 'utf8', maxBuffer: maxOutputBytes },
      (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') reject(notRunnable(error))
        else resolve({ code: error ? Number(error.code) : 0, stdout: stdout.trimEnd(), stderr: stderr.trimEnd() })
      },
    )
    if (input !== undefined) child.stdin?.end(input)
  })
}

/** Runs git and fails with its own words when it does. */
export async function gitOrFail(args: string[], options: { input?: string; cwd?: string } = {}): Promise<string> {
  const { code, stdout, stderr } = await git(args, options)
  if (code !== 0) throw new Failure(`git ${args[0]} failed: ${stderr.split('\n')[0] || `exit code ${code}`}`)
  return stdout
}

/** The URL of the remote `atelier` of the repository around the current directory; null without one. */
export async function readRemoteUrl(): Promise<string | null> {
  try {
    const { code, stdout } = await git(['config', '--get', 'remote.atelier.url'])
    return code === 0 && stdout ? stdout : null
  } catch (thrown) {
    // Every command but link does without git.
    if (thrown instanceof Failure && thrown.code === 'NO_GIT') return null
    throw thrown
  }
}

function notRunnable(error: Error): Failure {
  return new Failure(`git does not run here (${error.message}); install it`, { code: 'NO_GIT' })
}
