import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Isolate, type IsolateSpec, startIsolate } from './isolate/isolate.ts'
import { type Exit, launch, type Program } from './launch.ts'
import { closeNamespace, makeListeningNamespace, type NetworkNamespace } from './network/network.ts'
import { giveTo, leaseUser, type SandboxUser } from './users.ts'
import type { Walls } from './walls.ts'

export type Ran = { exit: Exit; stdout: string; stderr: string }

/** A platform's home for one test: its own uids, programs and isolates; removed, with whatever still runs in it, at the end. */
export class ThrowAwayHome implements AsyncDisposable {
  readonly path: string
  readonly buildUser: SandboxUser
  readonly appUser: SandboxUser
  readonly #isolates: Isolate[] = []
  readonly #networks: NetworkNamespace[] = []
  #started = 0

  static async make(): Promise<ThrowAwayHome> {
    const path = await mkdtemp(join(tmpdir(), 'atl-'))
    await chmod(path, 0o711)
    await mkdir(join(path, 'run'), { mode: 0o700 })
    const buildUser = await leaseUser({ home: path }, { purpose: 'build', app: 'hello' })
    const appUser = await leaseUser({ home: path }, { purpose: 'app', app: 'hello' })
    return new ThrowAwayHome(path, buildUser, appUser)
  }

  private constructor(path: string, buildUser: SandboxUser, appUser: SandboxUser) {
    this.path = path
    this.buildUser = buildUser
    this.appUser = appUser
  }

  /** A folder with these files (path → text) that belongs to the build user and that everybody may read. */
  async folder(name: string, files: Record<string, string> = {}): Promise<string> {
    const folder = join(this.path, name)
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, file)), { recursive: true })
      await writeFile(join(folder, file), text)
    }
    await giveTo(folder, this.buildUser)
    return folder
  }

  /** A program that runs in a folder of its own with next to no environment, unless said otherwise. */
  async program(given: Partial<Program> & Pick<Program, 'file'>): Promise<Program> {
    const cwd = given.cwd ?? (await this.folder('work'))
    const env = { PATH: '/usr/bin:/bin' }
    const readable = [process.execPath]
    return {
      name: given.file,
      args: [],
      env,
      user: this.buildUser,
      limits: { timeoutMs: 60_000 },
      readable,
      ...given,
      cwd,
    }
  }

  async run(given: Partial<Program> & Pick<Program, 'file'>, walls?: Walls): Promise<Ran> {
    const written = { stdout: '', stderr: '' }
    const onOutput: Program['onOutput'] = (stream, chunk) => {
      written[stream] += chunk
    }
    const launched = await launch(await this.program({ onOutput, ...given }), { walls })
    return { exit: await launched.exited, ...written }
  }

  /** An isolate of the app whose files are given; its lines are kept in `lines`. */
  async isolate({
    files,
    lines = [],
    entry = 'index.js',
    kind = 'server',
    command,
    start = startIsolate,
    ...given
  }: Partial<IsolateSpec> & {
    files: Record<string, string>
    lines?: string[]
    entry?: string
    kind?: 'fetch' | 'server'
    /** Runs this, as a process. */
    command?: string
    start?: (spec: IsolateSpec) => Promise<Isolate>
  }): Promise<Isolate> {
    const number = this.#started++
    const isolate = await start({
      name: 'hello v1',
      home: this.path,
      runs: command === undefined ? { kind, entry } : { kind: 'process', command, folder: '' },
      directory: await this.folder(`app-${number}`, files),
      env: {},
      socketPath: join(this.path, 'run', `${number}.sock`),
      user: this.appUser,
      memoryMb: 256,
      onLog: (_stream, line) => void lines.push(line),
      ...given,
    })
    this.#isolates.push(isolate)
    return isolate
  }

  /** A network with nobody else in it. */
  async network(): Promise<NetworkNamespace> {
    const made = await makeListeningNamespace(0)
    made.server.close()
    this.#networks.push(made)
    return made
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#isolates.map((isolate) => isolate.stop(0)))
    for (const network of this.#networks) closeNamespace(network)
    await rm(this.path, { recursive: true, force: true })
  }
}

/** Living processes whose command line holds the text. */
export async function processesSaying(text: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')))
  return pids.filter((_pid, index) => lines[index]?.includes(text)).map(Number)
}
