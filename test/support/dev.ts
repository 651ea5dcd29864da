import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { vi } from 'vitest'
import { type Answer, ask } from './http.ts'
import { checkout, plainEnv } from './platform.ts'
import { processesOf } from './processes.ts'
import { type Files, writeFiles } from './repo.ts'

/** `atelier dev` in a folder of its own, as a person has it in a terminal. */
export class Dev implements AsyncDisposable {
  readonly scratch: string
  readonly folder: string
  readonly #child: ChildProcess
  readonly ended: Promise<number | null>
  #said = ''

  static async start(files: Files, args: string[] = [], env: Record<string, string> = {}): Promise<Dev> {
    const scratch = await mkdtemp(join(tmpdir(), 'dev-'))
    // As root, apps and the database are users of their own.
    await chmod(scratch, 0o755)
    const folder = join(scratch, 'hello')
    await mkdir(folder)
    await writeFiles(folder, files)
    return new Dev(scratch, folder, { args, env })
  }

  private constructor(scratch: string, folder: string, { args, env }: { args: string[]; env: Record<string, string> }) {
    this.scratch = scratch
    this.folder = folder
    this.#child = spawn(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'dev', folder, ...args], {
      env: { ...plainEnv(), ATELIER_DEV_HOME: join(scratch, 'h'), ATELIER_LAUNCHED: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (text: Buffer) => {
        this.#said += text.toString()
      })
    this.ended = once(this.#child, 'exit').then(([code]) => code as number | null)
  }

  /** What it has said. */
  readonly said = (): string => this.#said

  readonly port = (): number => Number(/http:\/\/localhost:(\d+)/.exec(this.#said)?.[1] ?? 0)

  async write(files: Files): Promise<void> {
    await writeFiles(this.folder, files)
  }

  /** As a browser asks for a page when `accept` says so. */
  get(path: string, accept = '*/*'): Promise<Answer> {
    return ask(this.port(), 'localhost', path, { headers: { accept } })
  }

  readonly body = (): Promise<string> => this.get('/').then(({ body }) => body)

  lives(): number {
    return this.#said.match(/live in /g)?.length ?? 0
  }

  interrupt(signal: NodeJS.Signals = 'SIGINT'): void {
    this.#child.kill(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.interrupt('SIGTERM')
    await this.ended
    const none = () => processesOf(join(this.scratch, 'h')).length === 0 || Promise.reject(new Error('still there'))
    await vi.waitFor(none, { timeout: 120_000, interval: 50 })
    await rm(this.scratch, { recursive: true, force: true })
  }
}
