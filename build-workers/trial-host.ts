import { createReadStream } from 'node:fs'
import { chmod, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { AppError } from '../registry/errors.ts'
import { type AppRoute, type Isolate, type IsolateSpec, type Runs, startIsolate } from '../sandbox/isolate/isolate.ts'
import { type Answer, ask, type Question } from '../sandbox/isolate/probe.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { DatabaseAccess } from '../sandbox/network/database-relay.ts'
import type { SandboxUser } from '../sandbox/users.ts'
import type { PackedServer } from './pack-server.ts'
import { unpack } from './source.ts'
import { nodeCommand } from './start-command.ts'

export type TrialSpec = {
  /** For messages: `hello 3f2a91c`. */
  name: string
  home: string
  runs: Runs
  /** A server that a thread cannot hold is tried as a process. */
  mayBeProcess: boolean
  packed: PackedServer
  /** A place for the unpacked bundle; must not exist. */
  directory: string
  socketPath: string
  /** As in production, with what is for run time only. */
  env: Record<string, string>
  /** The one the app was given. */
  database: DatabaseAccess | null
  /** Instead of the one it will have. */
  dataDir?: string | undefined
  user: SandboxUser
  memoryMb: number
  processes: number
  /** The Host header of what it is asked. */
  host: string
}

export type TrialDeps = { signal: AbortSignal; appNetworks: Promise<AppNetworks> }
export type { Answer } from '../sandbox/isolate/probe.ts'
export type Asking = Partial<Pick<Question, 'mostBytes' | 'userAgent' | 'protocol'>> & { timeoutMs: number }

const startTimeoutMs = 30_000
const stopGraceMs = 2000
// An app that ends over a request is heard of a moment after its connection.
const endMs = 300
const keptLines = 20
const routesMs = 3000

/**
 * What was packed, in an isolate of its own: as it will be loaded, before it has users. Unpacked and started when it is first needed, and
 * once for all who try it.
 */
export class TrialHost {
  readonly #spec: TrialSpec
  readonly #deps: TrialDeps
  readonly #heard: string[] = []
  #runs: Runs
  #started: Promise<Isolate> | null = null
  #ended: Promise<void> = Promise.resolve()
  #isUnpacked = false
  #say: (text: string) => void = () => {}

  constructor(spec: TrialSpec, deps: TrialDeps) {
    this.#spec = spec
    this.#deps = deps
    this.#runs = spec.runs
  }

  /** How it runs; when it has been proved, how it will run. */
  get runs(): Runs {
    return this.#runs
  }

  /** The last lines the app wrote. */
  get lastWords(): string[] {
    return [...this.#heard]
  }

  /**
   * Does `work` while the app listens; and all of it once more with the app as a process, when it turns out that a thread cannot hold it.
   * `say` takes what the host has to say of the app. Throws APP_CRASHED, APP_NOT_LISTENING, and what `work` throws.
   */
  async use<T>(work: () => Promise<T>, say: (text: string) => void): Promise<T> {
    this.#say = say
    try {
      return await this.#try(work)
    } catch (thrown) {
      const isolate = await this.#started?.catch(() => null)
      const why = this.#runs === this.#spec.runs && this.#spec.mayBeProcess ? isolate?.needsProcess() : null
      if (!why || this.#deps.signal.aborted) throw thrown
      await this.close()
      this.#runs = { kind: 'process', command: nodeCommand(this.#spec.packed.entry ?? ''), folder: '' }
      say(`runs as a process, for a thread cannot hold it: ${why}`)
      return this.#try(work)
    }
  }

  /**
   * GET of the app, within `use`. Throws APP_UNHEALTHY when no whole answer came in time; when that is because the app has ended, its own
   * error (APP_CRASHED).
   */
  async ask(
    path: string,
    { mostBytes = 65_536, userAgent = 'Atelier-Health-Check', ...rest }: Asking,
  ): Promise<Answer> {
    const isolate = await this.#start()
    const place = { socketPath: isolate.socketPath, speaks: isolate.speaks(), host: this.#spec.host }
    try {
      return await ask({ ...place, path, mostBytes, userAgent, ...rest })
    } catch (thrown) {
      this.#deps.signal.throwIfAborted()
      throw (await this.endsWithin(endMs)) ?? thrown
    }
  }

  /** What a fetch app says of its own routes, within `use`; null: it keeps no list, or did not give it in time. */
  async routes(): Promise<AppRoute[] | null> {
    const isolate = await this.#start()
    return isolate.routes(routesMs)
  }

  /** Why the app has ended, if it does within `ms`; else null. */
  async endsWithin(ms: number): Promise<AppError | null> {
    const isolate = await this.#start()
    const timer = Promise.withResolvers<null>()
    const timeout = setTimeout(() => timer.resolve(null), ms)
    const ended = await Promise.race([isolate.exited, timer.promise]).finally(() => clearTimeout(timeout))
    return ended?.error ?? null
  }

  /** Tells the app to stop; resolves, and never rejects, when no process of it is left. */
  close(): Promise<void> {
    const started = this.#started
    this.#started = null
    if (started) this.#ended = stop(started)
    return this.#ended
  }

  async #try<T>(work: () => Promise<T>): Promise<T> {
    try {
      const isolate = await this.#start()
      await isolate.ready(startTimeoutMs)
      this.#deps.signal.throwIfAborted()
      return await work()
    } catch (thrown) {
      this.#deps.signal.throwIfAborted()
      throw thrown
    }
  }

  #start(): Promise<Isolate> {
    this.#started ??= this.#launch()
    return this.#started
  }

  async #launch(): Promise<Isolate> {
    const { signal, appNetworks } = this.#deps
    if (!this.#isUnpacked) await unpackForApp(this.#spec, signal)
    this.#isUnpacked = true
    const networks = await appNetworks
    const onLog: IsolateSpec['onLog'] = (stream, line) => this.#hear(stream, line)
    const spec = { ...this.#spec, runs: this.#runs, onLog }
    const isolate = await networks.start(
      (network, env) => startIsolate({ ...spec, ...network, env: { ...env, ...spec.env } }),
      { database: spec.database },
    )
    const onAbort = () => void isolate.stop(stopGraceMs)
    signal.addEventListener('abort', onAbort, { once: true })
    void isolate.exited.then(() => signal.removeEventListener('abort', onAbort))
    if (signal.aborted) onAbort()
    return isolate
  }

  #hear(stream: 'stdout' | 'stderr', line: string): void {
    // What the host itself has to say of an app.
    if (stream === 'stderr' && this.#runs.kind === 'process' && line.startsWith('atelier: ')) this.#say(line.slice(9))
    this.#heard.push(line)
    if (this.#heard.length > keptLines) this.#heard.shift()
  }
}

async function stop(started: Promise<Isolate>): Promise<void> {
  const isolate = await started.catch(() => null)
  await isolate?.stop(stopGraceMs)
}

// As the edges do it: the platform's own files, which the app can read and not change. The app's own frame is unpacked from what was packed;
// what is in the other was unpacked when that frame was made, and is put beside by links.
async function unpackForApp({ packed, directory, socketPath }: TrialSpec, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(socketPath), { recursive: true })
  const limits = { files: 200_000, bytes: 4 * 1024 ** 3 }
  const own = createReadStream(packed.path, { end: packed.ownSize - 1 })
  await unpack(own, directory, { limits, owner: null, signal })
  packed.modules?.place(directory)
  await chmod(directory, 0o755)
}
