import { createReadStream } from 'node:fs'
import { chmod, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import { AppError } from '../registry/errors.ts'
import type { Manifest } from '../registry/manifest.ts'
import {
  type Isolate,
  type IsolateSpec,
  probe,
  type Runs,
  shownCommand,
  startIsolate,
} from '../sandbox/isolate/isolate.ts'
import type { AppNetworks } from '../sandbox/network/app-network.ts'
import type { SandboxUser } from '../sandbox/users.ts'
import type { Page } from './pack-pages.ts'
import type { PackedServer } from './pack-server.ts'
import { unpack } from './source.ts'
import { nodeCommand } from './start-command.ts'

const startTimeoutMs = 30_000
const attempts = 3
const pauseMs = 300

/** A static site must have a page to begin with. Throws OUTPUT_INVALID. */
export async function verifyPages(pages: Page[], { folder, log }: { folder: string; log: StepLog }): Promise<void> {
  await log.step('Verifying', `${pages.length} files, index.html is there`, async (step) => {
    if (pages.some(({ path }) => path === 'index.html')) return
    step.detail('index.html is not there')
    const other = pages.find(({ path }) => path.endsWith('/index.html'))
    const hint = other ? `; ${other.path} is: name its folder with build.output in atelier.config.ts` : ''
    throw new AppError('OUTPUT_INVALID', `there is no index.html in ${folder || 'the top folder'}${hint}`)
  })
}

export type ServerCheck = {
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
  user: SandboxUser
  memoryMb: number
  processes: number
  health: Manifest['health']
  host: string
}

/**
 * Starts what was packed in an isolate of its own and asks for the health page; as a process, when it turns out that a thread cannot hold it.
 * Returns how it ran. Throws APP_CRASHED, APP_NOT_LISTENING, APP_UNHEALTHY with the likely cause and the app's last words. The isolate is
 * told to stop when this returns; `ended` says when it has.
 */
export async function verifyServer(
  check: ServerCheck,
  { log, signal, appNetworks }: VerifyDeps,
): Promise<{ runs: Runs; ended: Promise<unknown> }> {
  return log.step('Verifying', `GET ${check.health.path}`, async (step) => {
    await unpackForApp(check, signal)
    const first = await tryToRun(check, step, { signal, appNetworks })
    if (!('needsProcess' in first)) return first
    const runs: Runs = { kind: 'process', command: nodeCommand(check.packed.entry ?? ''), folder: '' }
    step.output(`runs as a process, for a thread cannot hold it: ${first.needsProcess}`)
    const second = await tryToRun({ ...check, runs, mayBeProcess: false }, step, { signal, appNetworks })
    return 'needsProcess' in second ? Promise.reject(second.error) : second
  })
}

export type VerifyDeps = { log: StepLog; signal: AbortSignal; appNetworks: Promise<AppNetworks> }
type Step = { detail(text: string): void; output(text: string): void }
type Ran = { runs: Runs; ended: Promise<unknown> }

async function tryToRun(
  check: ServerCheck,
  step: Step,
  { signal, appNetworks }: Omit<VerifyDeps, 'log'>,
): Promise<Ran | { needsProcess: string; error: unknown }> {
  const heard: string[] = []
  const onLog: IsolateSpec['onLog'] = (stream, line) => {
    // What the host itself has to say of an app.
    if (stream === 'stderr' && check.runs.kind === 'process' && line.startsWith('atelier: ')) step.output(line.slice(9))
    heard.push(line)
    if (heard.length > 20) heard.shift()
  }
  const networks = await appNetworks
  const isolate = await networks.start((network) => startIsolate({ ...check, ...network, onLog }))
  const stop = () => isolate.stop(2000)
  signal.addEventListener('abort', stop, { once: true })
  try {
    await isolate.ready(startTimeoutMs)
    signal.throwIfAborted()
    step.detail(`GET ${check.health.path} → ${await askHealth(isolate, check, heard)}`)
    return { runs: check.runs, ended: stop() }
  } catch (thrown) {
    const needsProcess = check.mayBeProcess ? isolate.needsProcess() : null
    await stop()
    signal.throwIfAborted()
    if (needsProcess) return { needsProcess, error: thrown }
    throw thrown
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

// As the edges do it: the platform's own files, which the app can read and not change. The app's own frame is unpacked from what was packed;
// what is in the other was unpacked when that frame was made, and is put beside by links.
async function unpackForApp({ packed, directory, socketPath }: ServerCheck, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(socketPath), { recursive: true })
  const limits = { files: 200_000, bytes: 4 * 1024 ** 3 }
  const own = createReadStream(packed.path, { end: packed.ownSize - 1 })
  await unpack(own, directory, { limits, owner: null, signal })
  packed.modules?.place(directory)
  await chmod(directory, 0o755)
}

async function askHealth(isolate: Isolate, { health, host, runs }: ServerCheck, heard: string[]): Promise<number> {
  let last = ''
  for (let attempt = 1; ; attempt++) {
    try {
      const { status, body } = await probe({
        socketPath: isolate.socketPath,
        speaks: isolate.speaks(),
        path: health.path,
        timeoutMs: health.timeout_sec * 1000,
        host,
      })
      if (health.strict ? status >= 200 && status < 400 : status < 500) return status
      last = `answered ${status}${firstWords(body)}`
    } catch (thrown) {
      if (!(thrown instanceof AppError)) throw thrown
      last = thrown.message.replace(/^GET \S+: /, 'failed: ')
    }
    const ended = await Promise.race([
      isolate.exited,
      new Promise<null>((resolve) => setTimeout(resolve, pauseMs, null)),
    ])
    if (ended) throw ended.error
    if (attempt === attempts) break
  }
  const wanted = health.strict ? '2xx or 3xx' : 'below 500'
  const setting = health.strict ? '' : '; another path can be set with deployments.healthCheck.path'
  const message = `GET ${health.path} ${last}; a healthy app (${shownCommand(runs)}) answers ${wanted}${setting}`
  throw new AppError('APP_UNHEALTHY', [message, ...heard.map((line) => `  ${line}`)].join('\n'))
}

function firstWords(body: string): string {
  const text = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  return text ? ` (${text.length > 80 ? `${text.slice(0, 80)}…` : text})` : ''
}
