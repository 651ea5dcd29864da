import type { Command } from 'commander'
import type { Answer, ApiEvent, Client } from './client.ts'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { Failure, usage } from './failure.ts'
import { ago, note, paint, print, printJson, printTable } from './output.ts'
import { shortVersion } from './reply.ts'
import { RunInput } from './run-input.ts'

type Options = AppOptions & { branch?: string; timeout?: string; stdin: boolean; list?: true }

/** As shells count what a signal has ended. */
const interrupted = 130
const timedOut = 124
const killed = 137

export function register(program: Command): void {
  withApp(program.command('run'))
    .description('run a command once, with the code, variables, network, /data and database of what is live')
    .argument('[command...]', 'the program and its arguments; after -- they are left as they are')
    .usage('[options] -- <command…>')
    .option('--branch <branch>', 'in the preview of this branch')
    .option('--timeout <seconds>', 'end it after so long', '3600')
    .option('-n, --no-stdin', 'send it no standard input')
    .option('--list', 'show who ran what lately')
    .passThroughOptions()
    .action(run)
}

async function run(command: string[], options: Options): Promise<void> {
  if (options.list) return list(options)
  if (command.length === 0) throw usage('say what to run, as in: atelier run -- node migrate.js')
  const timeout = Number(options.timeout)
  if (!Number.isInteger(timeout) || timeout < 1 || timeout > 86_400)
    throw usage('--timeout takes whole seconds, 86400 (a day) at most')
  const { client, app } = await connectToApp(options)
  const session = new RunSession(client, app, options)
  const code = await session.run({ command, branch: options.branch, input: options.stdin, timeout_sec: timeout })
  // Whatever is wrong, the command has said it itself.
  if (code !== 0)
    throw new Failure(`the command ended with ${code}`, { exitCode: code, code: 'COMMAND_FAILED', isTold: true })
}

type Order = { command: string[]; branch: string | undefined; input: boolean; timeout_sec: number }

type RunEvent = ApiEvent<'POST apps/{app}/runs'>

/** One command, from its order to its exit code. */
class RunSession {
  readonly #client: Client
  readonly #app: string
  readonly #json: boolean
  readonly #cut = new AbortController()
  #id: string | null = null
  #input: RunInput | null = null
  #interrupts = 0

  constructor(client: Client, app: string, { json }: { json?: true }) {
    this.#client = client
    this.#app = app
    this.#json = json ?? false
  }

  async run(order: Order): Promise<number> {
    const onInterrupt = () => this.#interrupt()
    process.on('SIGINT', onInterrupt).on('SIGTERM', onInterrupt).on('SIGHUP', onInterrupt)
    const asked = { params: { app: this.#app }, json: order, signal: this.#cut.signal }
    try {
      const events = this.#client.stream('POST apps/{app}/runs', asked)
      for await (const event of events) {
        if (this.#json) await write(process.stdout, `${JSON.stringify(event)}\n`)
        const code = await this.#take(event, order)
        if (code !== null) return code
      }
      throw connectionLost()
    } catch (thrown) {
      if (this.#id && thrown instanceof Failure && thrown.code === 'UNREACHABLE') throw connectionLost()
      if (this.#interrupts > 0 && thrown instanceof Failure && thrown.code === 'INTERRUPTED') return interrupted
      throw thrown
    } finally {
      this.#input?.close()
      process.off('SIGINT', onInterrupt).off('SIGTERM', onInterrupt).off('SIGHUP', onInterrupt)
    }
  }

  // Null: it goes on.
  async #take(event: RunEvent, { input, timeout_sec }: Order): Promise<number | null> {
    if (event.type === 'run') this.#begun(event.run.id, input)
    if (event.type === 'waiting' && process.stderr.isTTY) note(paint('dim', 'waiting for a free place', process.stderr))
    if (event.type === 'output' && !this.#json) await this.#show(event)
    if (event.type !== 'end') return null
    if (event.error) throw failureOf(event.error, this.#json)
    return this.#codeOf(event, timeout_sec)
  }

  #begun(id: string, input: boolean): void {
    this.#id = id
    if (input) this.#input = RunInput.open(this.#client, { app: this.#app, run: id })
    if (this.#interrupts > 0) void this.#end(false)
  }

  // Not made safe for a terminal: as with a command of one's own, its output may be a file.
  #show({ stream, data }: Extract<RunEvent, { type: 'output' }>): Promise<void> {
    return write(stream === 'stderr' ? process.stderr : process.stdout, Buffer.from(data, 'base64'))
  }

  #codeOf(end: Extract<RunEvent, { type: 'end' }>, timeoutSec: number): number {
    if (end.cause === 'timeout') {
      note(`atelier: the command was ended after ${timeoutSec} s; more time: --timeout <seconds>`)
      return timedOut
    }
    if (end.cause === 'memory') {
      note(
        'atelier: the command was ended, for it took more memory than the app may (ATELIER_APP_MEMORY_MB on the server)',
      )
      return killed
    }
    if (end.cause === 'stopped' && this.#interrupts === 0) note('atelier: somebody has ended the command')
    if (end.cause === 'stopped') return interrupted
    return end.exit_code ?? 128 + (signalNumbers[end.signal ?? ''] ?? 0)
  }

  // Once: it is asked to end, and what it says on its way out is shown. Twice: it is ended. Three times: so is this command.
  #interrupt(): void {
    this.#interrupts++
    if (this.#interrupts >= 3 || (this.#id === null && this.#interrupts > 1)) this.#cut.abort()
    if (this.#interrupts === 1) note('atelier: ending the command; Ctrl-C again to kill it')
    if (this.#id) void this.#end(this.#interrupts > 1)
  }

  // The end of the connection ends it as well: that it has ended already, or cannot be told, is no matter.
  async #end(atOnce: boolean): Promise<void> {
    const asked = { params: { app: this.#app, run: this.#id ?? '' }, json: { at_once: atOnce } }
    await this.#client.call('POST apps/{app}/runs/{run}/end', asked).catch((thrown: unknown) => {
      if (!(thrown instanceof Failure)) throw thrown
      if (thrown.code !== 'RUN_ENDED') this.#cut.abort()
    })
  }
}

function connectionLost(): Failure {
  const message =
    'the connection to the platform was lost, and the command is ended with it; what it had done by then stays done'
  return new Failure(message, { exitCode: 3, code: 'CONNECTION_LOST' })
}

const signalNumbers: Record<string, number> = {
  ...{
    SIGHUP: 1,
    SIGINT: 2,
    SIGQUIT: 3,
    SIGILL: 4,
    SIGTRAP: 5,
    SIGABRT: 6,
    SIGBUS: 7,
    SIGFPE: 8,
    SIGKILL: 9,
    SIGUSR1: 10,
  },
  ...{ SIGSEGV: 11, SIGUSR2: 12, SIGPIPE: 13, SIGALRM: 14, SIGTERM: 15 },
}

function failureOf({ code, message }: { code: string; message: string }, isTold: boolean): Failure {
  const isOurs =
    ['RUN_LOST', 'NO_EDGE', 'SANDBOX_FAILED', 'INTERNAL'].includes(code) || /UNAVAILABLE|CORRUPT/.test(code)
  if (isTold) note(`atelier: ${message}`)
  return new Failure(message, { code, exitCode: isOurs ? 3 : 1, isTold })
}

async function write(stream: NodeJS.WriteStream, data: Buffer | string): Promise<void> {
  if (!stream.write(data)) await new Promise((drained) => stream.once('drain', drained))
}

async function list(options: Options): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('GET apps/{app}/runs', { params: { app } })
  if (options.json) return printJson(reply)
  const rows = reply.runs.map((run) => [
    ago(run.created_at),
    run.by,
    shortVersion(run.version),
    howItWent(run),
    run.command,
  ])
  if (rows.length === 0)
    return print(`Nobody has run a command in ${app} yet; as in: atelier run --app ${app} -- node --version`)
  printTable(['WHEN', 'BY', 'VERSION', 'ENDED', 'COMMAND'], rows)
}

function howItWent({ state, cause, signal, exit_code }: Answer<'GET apps/{app}/runs'>['runs'][number]): string {
  if (state !== 'ended') return state
  return cause === 'exit' ? (signal ?? String(exit_code)) : (cause ?? '')
}
