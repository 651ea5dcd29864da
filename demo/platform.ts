import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ask } from '../test/support/http.ts'
import { freePort } from '../test/support/machine.ts'

const command = join(import.meta.dirname, '../cli/atelier.mjs')

/** A whole platform on a free port, with a home that is removed when it ends; it ends with this process, however that ends. */
export class DemoPlatform {
  readonly port: number
  /** An empty directory for whoever uses the platform. */
  readonly desk: string
  readonly #scratch: string
  readonly #process: ChildProcess

  /** Resolves when it is up; rejects with what it said when it ends before, and when it is called off. */
  static async start(signal: AbortSignal): Promise<DemoPlatform> {
    // Short, for so are the paths of unix sockets; passable, for apps run as users of their own where root starts them.
    const scratch = await mkdtemp('/tmp/atelier-demo-')
    await chmod(scratch, 0o711)
    await mkdir(join(scratch, 'desk'))
    const port = await freePort()
    // Out of the terminal's process group: Ctrl-C is this program's to pass on, once.
    const child = spawn(process.execPath, [command, 'up'], {
      env: {
        ...process.env,
        ATELIER_HOME: join(scratch, 'home'),
        ATELIER_HTTP_PORT: String(port),
        ATELIER_LAUNCHED: '1',
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    })
    const platform = new DemoPlatform(scratch, port, child)
    try {
      await platform.#isUp(signal)
    } catch (thrown) {
      await platform[Symbol.asyncDispose]()
      throw thrown
    }
    return platform
  }

  private constructor(scratch: string, port: number, child: ChildProcess) {
    this.#scratch = scratch
    this.desk = join(scratch, 'desk')
    this.port = port
    this.#process = child
  }

  /** Where its users and their git find the token. */
  async token(): Promise<string> {
    return (await readFile(join(this.#scratch, 'home/admin-token'), 'utf8')).trim()
  }

  /** What the API answers; rejects with its words when that is no 2xx. */
  async api(method: string, path: string, json?: unknown): Promise<unknown> {
    const { status, body } = await ask(this.port, 'api.localhost', `/api/platform/${path}`, {
      method,
      headers: { authorization: `Bearer ${await this.token()}`, 'content-type': 'application/json' },
      ...(json !== undefined && { body: JSON.stringify(json) }),
    })
    if (status < 300) return JSON.parse(body)
    throw new Error(`${method} ${path} was answered ${status}: ${body}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit')
      this.#process.kill('SIGINT')
      await ended
    }
    await rm(this.#scratch, { recursive: true, force: true })
  }

  async #isUp(signal: AbortSignal): Promise<void> {
    let said = ''
    const { promise: isReady, resolve, reject } = Promise.withResolvers<void>()
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (said.includes('Atelier is up')) resolve()
      })
    }
    const ended = once(this.#process, 'exit').then(([code]) => {
      throw new Error(`the platform ended with ${code}:\n${said}`)
    })
    ended.catch(() => undefined) // from the race below on its end is no surprise
    await Promise.race([isReady, ended])
  }
}
