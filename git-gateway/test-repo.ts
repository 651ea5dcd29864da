import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'

export type Ran = { code: number; stdout: string; stderr: string }

/** A person's repository, driven by real git with a person's environment. */
export async function makeRepo(remote: string, { branch = 'main' }: { branch?: string } = {}) {
  const path = await mkdtemp(join(tmpdir(), 'repo-'))
  const git = (...args: string[]): Promise<Ran> => runGit(path, args)
  await git('init', '-q', '-b', branch)
  await git('remote', 'add', 'atelier', remote)
  return {
    path,
    git,
    commit: async (files: Record<string, string>, message = 'change') => {
      for (const [name, text] of Object.entries(files)) {
        await mkdir(dirname(join(path, name)), { recursive: true })
        await writeFile(join(path, name), text)
      }
      await git('add', '-A')
      await git('commit', '-q', '--allow-empty', '-m', message)
      return (await git('rev-parse', 'HEAD')).stdout.trim()
    },
    push: (...args: string[]) => git('push', 'atelier', ...args),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}

export type TestRepo = Awaited<ReturnType<typeof makeRepo>>

/** Runs git as a person at a terminal without a keyboard would; never rejects for a failing exit code. */
export function runGit(cwd: string, args: string[], env: Record<string, string> = {}): Promise<Ran> {
  return startGit(cwd, args, env).done
}

/** The same, to be interrupted: `kill` ends git and what it started, as a closed terminal does. */
export function startGit(
  cwd: string,
  args: string[],
  env: Record<string, string> = {},
): { done: Promise<Ran>; kill: () => void } {
  const complete = {
    PATH: process.env.PATH,
    HOME: '/nonexistent',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_AUTHOR_NAME: 'Ada',
    GIT_AUTHOR_EMAIL: 'ada@example.com',
    GIT_COMMITTER_NAME: 'Ada',
    GIT_COMMITTER_EMAIL: 'ada@example.com',
    ...env,
  }
  const child = spawn('git', args, { cwd, env: complete, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const ended = once(child, 'close')
  const result = async (): Promise<Ran> => {
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
    return { code: code ?? -1, stdout, stderr }
  }
  return { done: result(), kill: () => process.kill(-(child.pid ?? 0), 'SIGKILL') }
}
