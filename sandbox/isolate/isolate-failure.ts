import { AppError } from '../../registry/errors.ts'
import type { Exit } from '../launch.ts'
import { readCrash } from './crash-text.ts'
import type { Heard, IsolateSpec, ReportedError, Runs } from './isolate.ts'

type Subject = Pick<IsolateSpec, 'runs' | 'memoryMb' | 'directory'>

/** What an isolate's end means, in a sentence that names the likely cause, with the last lines it wrote to stderr. */
export function explainExit(subject: Subject, exit: Exit, heard: Heard): AppError {
  const command = shownCommand(subject.runs)
  if (exit.cause === 'memory')
    return failure(
      'APP_CRASHED',
      `${command} used more than ${subject.memoryMb} MB of memory and was stopped`,
      subject,
      heard,
    )
  if (exit.cause !== 'exit') return failure('APP_CRASHED', `${command} was stopped (${exit.cause})`, subject, heard)

  const how = exit.signal ? `was ended by ${exit.signal}` : `exited with ${exit.code}`
  const cause = heard.error ? causeOf(heard.error, subject) : causeOfExit(exit, heard, subject)
  if (cause) return failure('APP_CRASHED', `${command} ${how}: ${cause}`, subject, heard)
  const background = heard.isDaemon
    ? ', and left a program in the background: a start command has to stay in front'
    : ''
  if (heard.listens) return failure('APP_CRASHED', `${command} ${how}${background}`, subject, heard)
  const code = exit.code === 0 ? 'APP_NOT_LISTENING' : 'APP_CRASHED'
  return failure(code, `${command} ${how} before it listened${background}`, subject, heard)
}

/** An app that neither listened nor ended in time. */
export function explainSilence(subject: Subject, timeoutMs: number, heard: Heard): AppError {
  const time = `within ${timeoutMs / 1000} s`
  const { tcp = [], unix = [] } = heard.listeners ?? {}
  const ports = [...new Set(tcp.map(({ port }) => port))]
  const places = [
    ...(ports.length > 0 ? [`port ${ports.join(', ')}`] : []),
    ...unix.map((path) => `the unix socket ${path}`),
  ]
  const elsewhere = places.length > 0 ? places.join(' and ') : null
  const sentence =
    subject.runs.kind === 'process'
      ? `${shownCommand(subject.runs)} runs, but did not listen on PORT${heard.port ? ` (${heard.port})` : ''} ${time}; ${
          elsewhere
            ? `it listens on ${elsewhere}: take the port from the environment variable PORT`
            : 'start an HTTP server on the port that the environment variable PORT names'
        }`
      : `${shownCommand(subject.runs)} runs, but did not call listen() ${time}; ${
          elsewhere ? `a program it started listens on ${elsewhere}` : 'start an HTTP server on process.env.PORT'
        }`
  return failure('APP_NOT_LISTENING', sentence, subject, heard)
}

/** What runs, as a person would type it. */
export function shownCommand(runs: Runs): string {
  if (runs.kind !== 'process') return `node ${runs.entry}`
  return runs.command.length > 100 ? `${runs.command.slice(0, 100)}…` : runs.command
}

/**
 * Why an app that ended in a thread, or (`exit` null) still runs there, may do better as a process of its own; null when
 * it would fail there as well.
 */
export function whyNotInThread(exit: Exit | null, { error, listens, listeners }: Heard): string | null {
  const ports = listeners?.tcp.map(({ port }) => port) ?? []
  if (exit === null)
    return !listens && ports.length > 0 ? `a program it started listens on port ${ports.join(', ')}` : null
  if (exit.cause !== 'exit') return null
  if (exit.signal && threadlessSignals.has(exit.signal))
    return `it was ended by ${exit.signal}, which a thread can neither handle nor survive`
  if (!error) return null
  const message = error.message.split('\n', 1)[0] ?? ''
  if (isAddOnOfMainThread(error)) return `${nativeFile(error.message)} cannot be loaded in a worker thread (${message})`
  return threadlessCodes.has(error.code ?? '') || speaksOfThreads.test(message) ? message : null
}

const threadlessCodes = new Set(['ERR_WORKER_UNSUPPORTED_OPERATION', 'ERR_TRACE_EVENTS_UNAVAILABLE'])
const speaksOfThreads = /\bworker[ _-]?threads?\b|\bin (a )?workers?\b|\bmain thread\b/i
// Ends by the app's own hand or by an add-on's: handlers of signals are a process's, and what a crash takes with it is too.
const threadlessSignals: ReadonlySet<NodeJS.Signals> = new Set([
  ...(['SIGHUP', 'SIGINT', 'SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGALRM'] as const),
  ...(['SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGILL', 'SIGFPE', 'SIGTRAP'] as const),
])

// One that is broken, missing a library or built for something else fails in a process too.
function isAddOnOfMainThread({ code, message }: ReportedError): boolean {
  if (/did not self-register/.test(message)) return true
  const isBroken =
    /NODE_MODULE_VERSION|cannot open shared object|invalid ELF|file too short|wrong ELF|undefined symbol|version `|not a mach-o/i
  return code === 'ERR_DLOPEN_FAILED' && !isBroken.test(message)
}

const shownLines = 20
// Frames inside Node and inside the host's own scripts say nothing about the app.
const foreignFrame = /^\s+at (?:.*\()?(?:async )?(?:node:|file:\/\/\/.*\/runtime\/scripts-)/

function failure(
  code: 'APP_CRASHED' | 'APP_NOT_LISTENING',
  sentence: string,
  { directory }: Subject,
  { stderr }: Heard,
): AppError {
  const folder = `${directory.replace(/\/$/, '')}/`
  const lines = stderr.map((line) => line.trimEnd()).filter((line) => line && !foreignFrame.test(line))
  const text = [sentence, ...lines.slice(-shownLines).map((line) => `  ${line}`)].join('\n')
  return new AppError(code, text.replaceAll(`file://${folder}`, '').replaceAll(folder, ''))
}

function causeOf(error: ReportedError, subject: Subject): string {
  const message = error.message.split('\n', 1)[0] ?? ''
  switch (error.code) {
    case 'ERR_WORKER_OUT_OF_MEMORY':
      return `it ran out of memory; an app here has ${subject.memoryMb} MB`
    case 'ATELIER_TLS':
    case 'ATELIER_NO_FETCH':
      return message
    case 'MODULE_NOT_FOUND':
    case 'ERR_MODULE_NOT_FOUND':
      return missingModule(message)
    case 'ERR_DLOPEN_FAILED':
      return nativeAddOn(error.message, subject)
    case 'ATELIER_NOT_FOUND':
      return missingProgram(message)
    case 'ATELIER_NOT_EXECUTABLE':
      return notExecutable(message)
    case 'EADDRINUSE':
      return `it listens on a fixed port (${message}); listen on process.env.PORT`
    case 'ECONNREFUSED':
      return `nothing answers at the address it connects to (${message || error.code}); is it set? see: atelier env`
  }
  if (/did not self-register/.test(message)) return nativeAddOn(error.message, subject)
  if (error.name === 'SyntaxError') return `syntax error${placeOf(error.stack)}: ${message}`
  const unset =
    unsetVariable([message]) ??
    (error.unset.length > 0 ? `${error.unset.join(', ')} is not set (${message}); ${howToSet(error.unset)}` : null)
  return unset ?? (error.name && !message.startsWith(error.name) ? `${error.name}: ${message}` : message)
}

// Node exits with 13 when nothing is left to run that could settle a top-level await.
function causeOfExit({ code }: Exit, { stderr }: Heard, subject: Subject): string | null {
  if (code === 13) return 'a top-level await in it never settled'
  return (subject.runs.kind === 'process' ? causeInText(code, stderr, subject) : null) ?? unsetVariable(stderr)
}

// Of a process there is only what it printed.
function causeInText(code: number | null, stderr: string[], subject: Subject): string | null {
  const text = stderr.join('\n')
  if (/FATAL ERROR: .*heap out of memory/.test(text))
    return `it ran out of memory; an app here has ${subject.memoryMb} MB`
  const missing = /^(?:\S*sh: )(?:\d+: |line \d+: )?(\S+?): (?:command )?not found$/m.exec(text)?.[1]
  if (code === 127 && missing) return missingProgram(missing)
  const closed = /^(?:\S*sh: )(?:\d+: |line \d+: )?(\S+?): Permission denied$/m.exec(text)?.[1]
  if (code === 126 && closed) return notExecutable(closed)
  const crash = readCrash(stderr)
  return crash && causeOf(crash, subject)
}

function missingProgram(name: string): string {
  return name.includes('/')
    ? `there is no ${name}; is it committed, or made by the build?`
    : `there is no program ${name}; a package that brings it has to be in "dependencies" of package.json, for "devDependencies" are left out`
}

function notExecutable(name: string): string {
  return `${name} may not be executed; mark it so: git update-index --chmod=+x ${name.replace(/^\.\//, '')}`
}

function missingModule(message: string): string {
  const name = /['"]([^'"]+)['"]/.exec(message)?.[1]
  if (!name) return message
  const isPackage = !name.startsWith('.') && !name.startsWith('/')
  return isPackage
    ? `module not found: ${name}; is it in "dependencies" of package.json, and the lockfile committed?`
    : `module not found: ${name}; is the file committed, and its name spelt with the same capitals?`
}

function nativeAddOn(message: string, { runs }: Subject): string {
  const file = nativeFile(message)
  if (/NODE_MODULE_VERSION/.test(message))
    return `${file} was built for another version of Node, this is ${process.version}; is node_modules committed?`
  return `${file} cannot be loaded${runs.kind === 'process' ? '' : ' in a worker thread'} (${message.split('\n', 1)[0]})`
}

function nativeFile(message: string): string {
  return /[^\s'"/]+\.node/.exec(message)?.[0] ?? 'a native add-on'
}

// `/app/server.js:3`, as V8 and `node --check` put it in the line before the source.
function placeOf(stack: string): string {
  const place = /^(?:file:\/\/)?(\/.*?:\d+)$/m.exec(stack)?.[1]
  return place ? ` in ${place}` : ''
}

// Names of variables are upper case with an underscore, as error codes are.
const variableName = /\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b/
const speaksOfAbsence =
  /not set|not defined|undefined|missing|required|must be (set|provided|defined)|invalid environment|not found|empty|expected/i

function unsetVariable(lines: string[]): string | null {
  for (const line of lines) {
    const name = variableName.exec(line.replace(/\b(ERR|MODULE)_[A-Z_]+\b/g, ''))?.[1]
    if (!name || !speaksOfAbsence.test(line)) continue
    const said = /not set/.test(line) ? line.trim() : `${name} is not set (${line.trim()})`
    return `${said}; ${howToSet([name])}`
  }
  return null
}

function howToSet(names: string[]): string {
  return `set it: atelier env set ${names.map((name) => `${name}=…`).join(' ')}`
}
