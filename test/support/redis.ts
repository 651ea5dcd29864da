import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort, requireProgram } from './machine.ts'

const deadlineMs = 30_000

/** A real redis-server on a port of its own, with a password, an append-only file and noeviction; `args` come last and win. */
export class TestRedis {
  readonly url: string
  readonly password: string
  readonly #port: number
  readonly #directory: string
  readonly #args: string[]
  #server: ChildProcess | null = null

  static async start(args: string[] = []): Promise<TestRedis> {
    const redis = await TestRedis.prepare(args)
    await redis.start()
    return redis
  }

  /** Its address is known and nobody answers there yet. */
  static async prepare(args: string[] = []): Promise<TestRedis> {
    return new TestRedis(await freePort(), await mkdtemp('/tmp/at-redis-'), args)
  }

  private constructor(port: number, directory: string, args: string[]) {
    this.#port = port
    this.#directory = directory
    this.#args = args
    this.password = `secret-${randomBytes(12).toString('hex')}`
    this.url = `redis://:${this.password}@127.0.0.1:${port}/0`
  }

  async start(): Promise<void> {
    const settings = {
      port: this.#port,
      bind: '127.0.0.1',
      dir: this.#directory,
      requirepass: this.password,
      save: '',
      appendonly: 'yes',
      appendfsync: 'always',
      'aof-use-rdb-preamble': 'no',
      'maxmemory-policy': 'noeviction',
    }
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
    const server = spawn(await requireProgram('redis-server'), [...args, ...this.#args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#server = server
    let said = ''
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`redis-server is not ready:\n${said}`)), deadlineMs)
      server.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (said.includes('Ready to accept connections')) resolve()
      })
      server.once('error', reject)
      server.once('exit', (code) => reject(new Error(`redis-server ended with ${code}:\n${said}`)))
      server.once('exit', () => clearTimeout(timer))
    })
  }

  /** Ends it as a crash does; the append-only file stays. */
  async stop(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (!server || server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    server.kill('SIGKILL')
    await ended
  }

  /** Stops answering, with its connections open; `resume` ends that. */
  freeze(): void {
    this.#server?.kill('SIGSTOP')
  }

  resume(): void {
    this.#server?.kill('SIGCONT')
  }

  /** One command, as an operator or an intruder would give it. */
  async command(name: string, ...args: string[]): Promise<unknown> {
    const client = new Redis(this.url, { lazyConnect: true })
    try {
      await client.connect()
      return await client.call(name, ...args)
    } finally {
      client.disconnect()
    }
  }

  /** Cuts bytes off the end of its append-only file, as a power cut does. It must be stopped. */
  async truncateLog(bytes: number): Promise<void> {
    const file = join(this.#directory, 'appendonlydir/appendonly.aof.1.incr.aof')
    const { size } = await stat(file)
    await truncate(file, Math.max(0, size - bytes))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await rm(this.#directory, { recursive: true, force: true })
  }
}
