import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Failure } from '../failure.ts'
import { localPlatform, type Platform } from '../platform.ts'

const startWithinMs = 120_000
const lookEveryMs = 25
const keptLines = 20

// Of the platform's settings those that say what apps may have. The others would have it listen, or keep its things, where the real one does.
const passedSettings = /^ATELIER_(ISOLATION|EGRESS_ALLOW|APP_.*|BUILD_.*|CACHE_.*|CHECKOUT_.*)$/

/** The whole platform for one folder alone: the same parts that serve apps elsewhere, in a home and on a port of its own. */
export class DevPlatform {
  readonly address: Platform
  readonly #child: ChildProcess
  readonly #ended: Promise<string>
  #isStopping = false

  /** Takes one to three seconds, the first time for a folder three to five. Throws a Failure with the platform's own word. */
  static async start(folder: string, { fresh }: { fresh: boolean }): Promise<DevPlatform> {
    const home = devHome(folder)
    if (fresh) await rm(home, { recursive: true, force: true })
    await mkdir(join(home, '..'), { recursive: true, mode: 0o755 })
    const env = {
      ...environment(),
      ATELIER_HOME: home,
      ATELIER_HTTP_PORT: String(await freePort()),
      ATELIER_EDGES: '1',
    }
    // In a group of its own: on Ctrl-C it is ended in order, and not by the terminal. It ends by itself when this process is gone.
    const child = spawn(process.execPath, [join(import.meta.dirname, '../atelier.mjs'), 'up'], {
      env: { ...env, ATELIER_LAUNCHED: '1' },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      detached: true,
    })
    const lines: string[] = []
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      lines.push(...text.split('\n').filter((line) => line.trim()))
      lines.splice(0, lines.length - keptLines)
    })
    const ended = new Promise<string>((settle) => {
      child.once('error', (error) => settle(error.message))
      child.once('exit', (code, signal) => settle(lines.at(-1)?.replace(/^atelier: /, '') ?? `with ${signal ?? code}`))
    })
    return new DevPlatform(child, ended, await untilReady(home, child, ended))
  }

  private constructor(child: ChildProcess, ended: Promise<string>, address: Platform) {
    this.#child = child
    this.#ended = ended
    this.address = address
  }

  /** Settles when it ends by itself. */
  get ended(): Promise<string> {
    return this.#ended.then((why) => (this.#isStopping ? new Promise<never>(() => undefined) : why))
  }

  /** Where it serves apps. */
  hurry(): void {
    this.#child.kill('SIGINT')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true
    this.#child.kill('SIGTERM')
    // Nobody but its person visits it: what is in flight need not be waited for.
    const hurrying = setTimeout(() => this.#child.kill('SIGTERM'), 1500)
    await this.#ended
    clearTimeout(hurrying)
  }
}

/** Where the platform of a folder keeps its things, database and caches among them. */
export function devHome(folder: string, env: NodeJS.ProcessEnv = process.env): string {
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 8)
  if (env.ATELIER_DEV_HOME) return join(env.ATELIER_DEV_HOME, name)
  // As root, apps are users of their own and must reach it.
  if (process.getuid?.() === 0) return join('/var/lib/atelier-dev', name)
  return join(env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local/state'), 'atelier-dev', name)
}

async function untilReady(home: string, child: ChildProcess, ended: Promise<string>): Promise<Platform> {
  const over = ended.then((why) => {
    const hint = /another|in use/i.test(why) ? '; does atelier dev run for this folder in another terminal?' : ''
    throw new Failure(`the platform for this folder does not start: ${why}${hint}`, { code: 'PLATFORM_FAILED' })
  })
  over.catch(() => undefined)
  for (const startedAt = performance.now(); performance.now() - startedAt < startWithinMs; ) {
    const platform = localPlatform({ ...process.env, ATELIER_HOME: home })
    if (platform && (await isOf(home, child))) return platform
    await Promise.race([over, pause(lookEveryMs)])
  }
  child.kill('SIGKILL')
  throw new Failure(`the platform for this folder was not up after ${startWithinMs / 1000} s; its log: ${home}/log`, {
    code: 'PLATFORM_FAILED',
    exitCode: 3,
  })
}

// What an earlier run has left says other process ids.
async function isOf(home: string, { pid }: ChildProcess): Promise<boolean> {
  const { readFile } = await import('node:fs/promises')
  const written: unknown = JSON.parse(await readFile(join(home, 'atelier.json'), 'utf8'))
  return typeof written === 'object' && written !== null && 'pid' in written && written.pid === pid
}

function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('ATELIER_') || passedSettings.test(name))
  return Object.fromEntries(kept)
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
