import { AppError } from '../registry/errors.ts'
import type { Heard, IsolateSpec } from './isolate.ts'
import type { Exit } from './launch.ts'

type Subject = Pick<IsolateSpec, 'entry' | 'memoryMb' | 'kind'>

/** What an isolate's end means, in a sentence that names the likely cause, with the last lines it wrote to stderr. */
export function explainExit(subject: Subject, exit: Exit, heard: Heard): AppError {
  const command = `node ${subject.entry}`
  if (exit.cause === 'memory')
    return failure('APP_CRASHED', `${command} used more than ${subject.memoryMb} MB of memory and was stopped`, heard)
  if (exit.cause !== 'exit') return failure('APP_CRASHED', `${command} was stopped (${exit.cause})`, heard)

  const how = exit.signal ? `was ended by ${exit.signal}` : `exited with ${exit.code}`
  const cause = likelyCause(subject, heard)
  if (cause) return failure('APP_CRASHED', `${command} ${how}: ${cause}`, heard)
  if (heard.listens) return failure('APP_CRASHED', `${command} ${how}`, heard)
  const code = exit.code === 0 ? 'APP_NOT_LISTENING' : 'APP_CRASHED'
  return failure(code, `${command} ${how} before it listened`, heard)
}

/** An app that neither listened nor ended in time. */
export function explainSilence({ entry }: Subject, timeoutMs: number, heard: Heard): AppError {
  const message = `node ${entry} runs, but did not call listen() within ${timeoutMs / 1000} s; start an HTTP server on process.env.PORT`
  return failure('APP_NOT_LISTENING', message, heard)
}

// Frames inside Node and inside the host's own scripts say nothing about the app.
const foreignFrame = /^\s+at (?:.*\()?(?:async )?(?:node:|file:\/\/\/.*\/runtime\/scripts-)/

function failure(code: 'APP_CRASHED' | 'APP_NOT_LISTENING', sentence: string, { stderr }: Heard): AppError {
  const lines = stderr.map((line) => line.trimEnd()).filter((line) => line && !foreignFrame.test(line))
  return new AppError(code, [sentence, ...lines.map((line) => `  ${line}`)].join('\n'))
}

function likelyCause({ memoryMb }: Subject, { error, stderr }: Heard): string | null {
  const message = error ? firstLine(error.message) : ''
  const text = [error?.stack ?? '', message, ...stderr].join('\n')
  const rules: [boolean, () => string][] = [
    [error?.code === 'ERR_WORKER_OUT_OF_MEMORY', () => `it ran out of memory; an app here has ${memoryMb} MB`],
    [error?.code === 'ATELIER_TLS' || error?.code === 'ATELIER_NO_FETCH', () => message],
    [isMissingModule(error?.code), () => missingModule(message)],
    [
      error?.code === 'ERR_DLOPEN_FAILED' || /did not self-register|Module did not self-register/.test(text),
      () => nativeAddOn(message),
    ],
    [
      error?.code === 'EADDRINUSE' || (error?.code === 'EACCES' && /listen/.test(message)),
      () => `it listens on a fixed port (${message}); listen on process.env.PORT`,
    ],
    [error?.name === 'SyntaxError', () => `syntax error${placeOf(error?.stack ?? '')}: ${message}`],
    [unsetName(text) !== null, () => unsetVariable(unsetName(text) ?? '', message)],
    [error !== null, () => (error?.name && !message.startsWith(error.name) ? `${error.name}: ${message}` : message)],
  ]
  return rules.find(([applies]) => applies)?.[1]() ?? null
}

function unsetVariable(name: string, message: string): string {
  if (!message || /not set/.test(message)) return message || `${name} is not set`
  return `${name} is not set (${message})`
}

function isMissingModule(code: string | null | undefined): boolean {
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND'
}

function missingModule(message: string): string {
  const name = /['"]([^'"]+)['"]/.exec(message)?.[1]
  if (!name) return message
  const isPackage = !name.startsWith('.') && !name.startsWith('/')
  return isPackage
    ? `module not found: ${name}; is it in "dependencies" of package.json, and the lockfile committed?`
    : `module not found: ${name}; is the file committed, and its name spelt with the same capitals?`
}

function nativeAddOn(message: string): string {
  const file = /[^\s'"/]+\.node/.exec(message)?.[0] ?? 'a native add-on'
  return `${file} cannot be loaded in a worker thread (${message})`
}

// A CommonJS syntax error carries its place in the first line of the stack.
function placeOf(stack: string): string {
  const place = /^(?:file:\/\/)?(\/.*?):(\d+)$/m.exec(firstLine(stack))
  return place ? ` in ${place[1]}:${place[2]}` : ''
}

// Environment names are upper case with an underscore; `undefined` alone says nothing about which.
const environmentName = /\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b/
const speaksOfAbsence =
  /not set|not defined|undefined|missing|required|must be (set|provided|defined)|invalid environment|not found|empty|expected/i

function unsetName(text: string): string | null {
  for (const line of text.split('\n')) {
    const name = environmentName.exec(line.replace(/\b(ERR|MODULE)_[A-Z_]+\b/g, ''))?.[1]
    if (name && speaksOfAbsence.test(line)) return name
  }
  return null
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? ''
}
