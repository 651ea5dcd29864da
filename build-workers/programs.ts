import type { Config } from '../registry/config.ts'
import { AppError, type ErrorCode } from '../registry/errors.ts'
import type { Mask } from '../registry/mask.ts'
import { MaskedStream } from '../registry/masked-stream.ts'
import { type Exit, launch } from '../sandbox/launch.ts'
import { LineSplitter } from '../sandbox/lines.ts'
import type { BuildNetwork } from '../sandbox/network/build-network.ts'
import type { Workspace } from './workspace.ts'

export type BuildProgram = {
  /** For people, without quotes: `npm ci`, `vite build`. */
  name: string
  file: string
  args: string[]
  /** Default: the app's folder. */
  cwd?: string
  env: Record<string, string>
  /** What it means when it fails: INSTALL_FAILED, BUILD_FAILED, … */
  code: ErrorCode
  /** Time of its own, within what the whole build has left; `setting` names where it is set. */
  timeout?: { ms: number; setting: string }
  /** Takes what it prints, line by line; default: the build's log. */
  onLine?: (line: string) => void
  /** Bytes it may report over the control pipe; default: it has none. */
  controlBytes?: number
}

export type ProgramsDeps = {
  workspace: Workspace
  limits: Config['buildLimits']
  /** What programs need to read outside the workspace: Node, the tools, lent dependencies. */
  readable: string[]
  /** Folders outside the workspace that programs may write to: caches. */
  writable: string[]
  network: Pick<BuildNetwork, 'namespace'>
  /** Name servers, where the network has its own. */
  resolvers?: string[] | undefined
  onLine: (line: string) => void
  /** What they print goes through it first. */
  mask: Mask
  signal: AbortSignal
}

const mostLines = 50_000

/** Runs a build's programs, one after the other, as the build's user and within what the whole build may take. */
export class Programs {
  readonly #deps: ProgramsDeps
  readonly #deadline: number
  #outputLeft: number
  #linesLeft = mostLines

  constructor(deps: ProgramsDeps) {
    this.#deps = deps
    this.#deadline = performance.now() + deps.limits.timeoutMs
    this.#outputLeft = deps.limits.outputBytes
  }

  /** The same kind of room in another network, with time and output of its own. */
  elsewhere(network: Pick<ProgramsDeps, 'network' | 'resolvers'>): Programs {
    return new Programs({ ...this.#deps, resolvers: undefined, ...network })
  }

  /**
   * Runs it to its end and returns what it said over the control pipe. Throws the program's own code when it fails, BUILD_LIMIT when it
   * went over a limit, and the signal's reason when the build was ended.
   */
  async run(program: BuildProgram): Promise<Buffer> {
    const { workspace, limits, readable, writable, network, resolvers, onLine, mask, signal } = this.#deps
    signal.throwIfAborted()
    const left = Math.max(1, this.#deadline - performance.now())
    const ownTime = program.timeout !== undefined && program.timeout.ms < left ? program.timeout : null
    const take = this.#counted(program.onLine ?? onLine)
    const lines = { stdout: shownLines(mask, take), stderr: shownLines(mask, take) }
    const launched = await launch({
      name: program.name,
      file: program.file,
      args: program.args,
      cwd: program.cwd ?? workspace.app,
      env: program.env,
      user: workspace.user,
      readable: [workspace.beside('bin'), ...readable],
      writable: [workspace.app, workspace.home, workspace.tmp, ...writable],
      network: network.namespace ?? undefined,
      ...(resolvers && { resolvers }),
      control: program.controlBytes !== undefined,
      limits: {
        timeoutMs: Math.ceil(ownTime?.ms ?? left),
        memoryMb: limits.memoryMb,
        processes: limits.processes,
        yields: true,
        diskMb: limits.diskMb,
        outputBytes: Math.max(1, this.#outputLeft),
      },
      onOutput: (stream, chunk) => {
        this.#outputLeft -= chunk.length
        lines[stream].push(chunk)
      },
      signal,
    })
    const control = launched.control
      ? bounded(launched.control, program.controlBytes ?? 0)
      : Promise.resolve(Buffer.alloc(0))
    const [exit, said] = await Promise.all([launched.exited, control])
    for (const stream of Object.values(lines)) stream.end()
    signal.throwIfAborted()
    this.#judge(program, exit, ownTime)
    return said
  }

  // Short lines weigh more where they are kept than their bytes say.
  #counted(take: (line: string) => void): (line: string) => void {
    return (line) => {
      this.#linesLeft -= 1
      if (this.#linesLeft >= 0) take(line)
      if (this.#linesLeft === 0) take('… further output of this build is not kept')
    }
  }

  #judge(program: BuildProgram, exit: Exit, ownTime: BuildProgram['timeout'] | null): void {
    const { limits } = this.#deps
    if (exit.cause === 'exit' && exit.code === 0) return
    const over = (what: string, setting: string) =>
      new AppError('BUILD_LIMIT', `build stopped: ${program.name} ${what} (${setting} on the server)`)
    if (exit.cause === 'timeout' && ownTime)
      throw new AppError(program.code, `${program.name} did not end within ${seconds(ownTime.ms)} (${ownTime.setting})`)
    if (exit.cause === 'timeout')
      throw over(`was still running when the build had taken ${seconds(limits.timeoutMs)}`, 'ATELIER_BUILD_TIMEOUT_SEC')
    if (exit.cause === 'memory') throw over(`used more than ${limits.memoryMb} MB of memory`, 'ATELIER_BUILD_MEMORY_MB')
    if (exit.cause === 'disk') throw over(`wrote more than ${limits.diskMb} MB to disk`, 'ATELIER_BUILD_DISK_MB')
    if (exit.cause === 'output')
      throw over(`printed more than ${Math.round(limits.outputBytes / 1_048_576)} MB`, 'ATELIER_BUILD_LOG_MB')
    throw new AppError(program.code, `${failurePrefix(program.code)}${program.name} ${ending(exit)}`)
  }
}

function shownLines(mask: Mask, take: (line: string) => void): { push(chunk: Buffer): void; end(): void } {
  const masked = new MaskedStream(mask, take)
  const splitter = new LineSplitter((line) => masked.push(line))
  return {
    push: (chunk) => splitter.push(chunk),
    end: () => {
      splitter.end()
      masked.end()
    },
  }
}

function failurePrefix(code: ErrorCode): string {
  if (code === 'INSTALL_FAILED') return 'install failed: '
  return code === 'BUILD_FAILED' ? 'build failed: ' : ''
}

function ending({ code, signal }: Exit): string {
  if (signal) return `was ended by ${signal}`
  return code === 127 ? 'was not found' : `exited with ${code}`
}

function seconds(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1000} s`
}

// A pipe that says more than it may is read to its end all the same, or the program would block on it.
async function bounded(stream: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream) {
    size += chunk.length
    if (size <= most) chunks.push(chunk)
  }
  return size <= most ? Buffer.concat(chunks) : Buffer.alloc(0)
}
