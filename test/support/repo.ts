import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type CommandResult, run } from './command.ts'

/** Path → content; null removes the file. */
export type Files = Record<string, string | Buffer | null>
export type PushResult = CommandResult & {
  /** What the platform said, line by line, without git's `remote: `. */
  remote: string[]
}

/** git's own refusal: its exit code, its whole stderr in the message, and the platform's lines. */
export class PushError extends Error {
  readonly result: PushResult

  constructor(result: PushResult) {
    super(`git push ended with ${result.code}\n${result.stderr}`)
    this.name = 'PushError'
    this.result = result
  }
}

/** For a push: no rollout. Who waits for a version by asking for it makes traffic, which is shared out in stages. */
export const atOnce = '--push-option=canary=skip'

/** A working copy driven by the real git, whose remote `atelier` is the platform. */
export class Repo {
  readonly directory: string
  readonly #env: NodeJS.ProcessEnv

  constructor(directory: string, env: NodeJS.ProcessEnv) {
    this.directory = directory
    this.#env = env
  }

  /** Writes the files and commits everything; resolves to the commit's SHA. */
  async commit(files: Files, message = 'change'): Promise<string> {
    await writeFiles(this.directory, files)
    await this.git('add', '--all')
    await this.git('commit', '--quiet', '--allow-empty', '--message', message)
    return (await this.git('rev-parse', 'HEAD')).stdout.trim()
  }

  /** `git push atelier main`, or other refspecs and options; rejects with a PushError when git fails. */
  async push(...args: string[]): Promise<PushResult> {
    const result = await this.tryPush(...args)
    if (result.code !== 0) throw new PushError(result)
    return result
  }

  async tryPush(...args: string[]): Promise<PushResult> {
    const refspec = args.some((arg) => !arg.startsWith('-')) ? args : [...args, 'main']
    const options = refspec.filter((arg) => arg.startsWith('-'))
    const refs = refspec.filter((arg) => !arg.startsWith('-'))
    const result = await this.tryGit('push', ...options, 'atelier', ...refs)
    return { ...result, remote: remoteLines(result.stderr) }
  }

  async git(...args: string[]): Promise<CommandResult> {
    const result = await this.tryGit(...args)
    if (result.code !== 0) throw new Error(`git ${args.join(' ')} ended with ${result.code}\n${result.stderr}`)
    return result
  }

  /** The same, with something to read. */
  async gitWith(input: string, ...args: string[]): Promise<CommandResult> {
    const result = await run('git', args, { cwd: this.directory, env: this.#env, input })
    if (result.code !== 0) throw new Error(`git ${args.join(' ')} ended with ${result.code}\n${result.stderr}`)
    return result
  }

  tryGit(...args: string[]): Promise<CommandResult> {
    return run('git', args, { cwd: this.directory, env: this.#env })
  }
}

/** Files under a directory; a content that starts with `#!` is made executable. */
export async function writeFiles(directory: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name)
    if (content === null) {
      await rm(path, { recursive: true, force: true })
      continue
    }
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
    if (content.slice(0, 2).toString() === '#!') await chmod(path, 0o755)
  }
}

// git writes each line as `remote: text` padded with blanks, and progress with carriage returns.
function remoteLines(stderr: string): string[] {
  return stderr
    .split(/[\r\n]+/)
    .filter((line) => line.startsWith('remote: '))
    .map((line) => line.slice('remote: '.length).trimEnd())
}
