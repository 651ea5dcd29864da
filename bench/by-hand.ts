import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../test/support/command.ts'
import { freePort } from '../test/support/machine.ts'
import type { Repo } from '../test/support/repo.ts'

export type Recipe = { build: string; serve: string }

/**
 * What a careful person would do without a platform: a bare repository whose `post-receive` checks the commit out into a directory that
 * keeps its node_modules, runs the build commands, and restarts the one process that serves it. Small systems of this kind (Piku) do
 * the same; it has no isolation, no verification and a gap at every restart, so it is a floor for time, not a peer.
 */
export class ByHand {
  readonly port: number
  readonly #directory: string
  #server: ChildProcess | null = null

  private constructor(directory: string, port: number) {
    this.#directory = directory
    this.port = port
  }

  static async create(directory: string, recipe: Recipe): Promise<ByHand> {
    const byHand = new ByHand(directory, await freePort())
    const [bare, work] = [join(directory, 'bare.git'), join(directory, 'work')]
    await mkdir(work, { recursive: true })
    await run('git', ['init', '--quiet', '--bare', bare], { cwd: directory, env: process.env })
    const hook = join(bare, 'hooks/post-receive')
    const script = [
      '#!/bin/sh',
      'set -e',
      `git --work-tree=${work} checkout -f -q main`,
      `cd ${work}`,
      'unset GIT_DIR',
      recipe.build,
      `echo restart > ${directory}/restart`,
    ]
    await writeFile(hook, `${script.join('\n')}\n`)
    await chmod(hook, 0o755)
    await writeFile(join(directory, 'serve'), recipe.serve)
    return byHand
  }

  /** Pushes and serves the result; resolves when the push and the restart are through. */
  async push(repo: Repo): Promise<void> {
    await repo.git('push', '--quiet', '--force', join(this.#directory, 'bare.git'), 'HEAD:main')
    await this.#restart()
  }

  async close(): Promise<void> {
    const server = this.#server
    if (!server?.pid || server.exitCode !== null || server.signalCode !== null) return
    const gone = once(server, 'exit')
    server.kill('SIGKILL')
    await gone
  }

  async #restart(): Promise<void> {
    await this.close()
    const serve = await readFile(join(this.#directory, 'serve'), 'utf8')
    const [program = '', ...args] = serve.split(' ')
    this.#server = spawn(program, args, {
      cwd: join(this.#directory, 'work'),
      env: { ...process.env, PORT: String(this.port) },
      stdio: 'ignore',
    })
    await once(this.#server, 'spawn')
  }
}
