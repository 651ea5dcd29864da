import { AppError } from '../registry/errors.ts'
import type { Heard, IsolateSpec, ReportedError } from './isolate.ts'
import type { Exit } from './launch.ts'

type Subject = Pick<IsolateSpec, 'entry' | 'memoryMb' | 'directory'>

/** What an isolate's end means, in a sentence that names the likely cause, with the last lines it wrote to stderr. */
export function explainExit(subject: Subject, exit: Exit, heard: Heard): AppError {
  const command = `node ${subject.entry}`
  if (exit.cause === 'memory')
    return failure(
      'APP_CRASHED',
      `${command} used more than ${subject.memoryMb} MB of memory and was stopped`,
      subject,
      heard,
    )
  if (exit.cause !== 'exit') return failure('APP_CRASHED', `${command} was stopped (${exit.cause})`, subject, heard)

  const how = exit.signal ? `was ended by ${exit.signal}` : `exited with ${exit.code}`
  const cause = heard.error ? causeOf(heard.error, subject) : causeOfExit(exit, heard)
  if (cause) return failure('APP_CRASHED', `${command} ${how}: ${cause}`, subject, heard)
  if (heard.listens) return failure('APP_CRASHED', `${command} ${how}`, subject, heard)
  const code = exit.code === 0 ? 'APP_NOT_LISTENING' : 'APP_CRASHED'
  return failure(code, `${command} ${how} before it listened`, subject, heard)
}

/** An app that neither listened nor ended in time. */
export function explainSilence(subject: Subject, timeoutMs: number, heard: Heard): AppError {
  const sentence = `node ${subject.entry} runs, but did not call listen() within ${timeoutMs / 1000} s; start an HTTP server on process.env.PORT`
  return failure('APP_NOT_LISTENING', sentence, subject, heard)
}

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
  const text = [sentence, ...lines.map((line) => `  ${line}`)].join('\n')
  return new AppError(code, text.replaceAll(`file://${folder}`, '').replaceAll(folder, ''))
}

function causeOf(error: ReportedError, { memoryMb }: Subject): string {
  const message = error.message.split('\n', 1)[0] ?? ''
  switch (error.code) {
    case 'ERR_WORKER_OUT_OF_MEMORY':
      return `it ran out of memory; an app here has ${memoryMb} MB`
    case 'ATELIER_TLS':
    case 'ATELIER_NO_FETCH':
      return message
    case 'MODULE_NOT_FOUND':
    case 'ERR_MODULE_NOT_FOUND':
      return missingModule(message)
    case 'ERR_DLOPEN_FAILED':
      return nativeAddOn(error.message)
    case 'EADDRINUSE':
      return `it listens on a fixed port (${message}); listen on process.env.PORT`
    case 'ECONNREFUSED':
      return `nothing answers at the address it connects to (${message || error.code}); is it set? see: atelier env`
  }
  if (/did not self-register/.test(message)) return nativeAddOn(error.message)
  if (error.name === 'SyntaxError') return `syntax error${placeOf(error.stack)}: ${message}`
  const unset =
    unsetVariable([message]) ??
    (error.unset.length > 0 ? `${error.unset.join(', ')} is not set (${message}); ${howToSet(error.unset)}` : null)
  return unset ?? (error.name && !message.startsWith(error.name) ? `${error.name}: ${message}` : message)
}

// Node exits with 13 when nothing is left to run that could settle a top-level await.
function causeOfExit({ code }: Exit, { stderr }: Heard): string | null {
  return code === 13 ? 'a top-level await in it never settled' : unsetVariable(stderr)
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
  if (/NODE_MODULE_VERSION/.test(message))
    return `${file} was built for another version of Node, this is ${process.version}; is node_modules committed?`
  return `${file} cannot be loaded in a worker thread (${message.split('\n', 1)[0]})`
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
