import type { ReportedError } from './isolate.ts'

const lastLine = /^Node\.js v\d/
const firstLine = /^(?:Uncaught )?([A-Z]\w*)(?: \[(\w+)\])?(?:: (.*))?$/
const frame = /^\s+at /
const codeLine = /^\s+code: '(\w+)'/

/** The error that ended a Node process, out of what Node prints then; null when the lines do not end that way. */
export function readCrash(stderr: string[]): ReportedError | null {
  if (!stderr.some((line) => lastLine.test(line))) return null
  const end = stderr.findLastIndex((line) => lastLine.test(line))
  const firstFrame = stderr.findIndex((line, at) => at < end && frame.test(line))
  const start = stderr.findLastIndex((line, at) => at < (firstFrame === -1 ? end : firstFrame) && firstLine.test(line))
  const [, name = '', code, message = ''] = firstLine.exec(stderr[start] ?? '') ?? []
  if (start === -1) return null
  const said = stderr.slice(start, end)
  return {
    name,
    message: [message, ...said.slice(1, firstFrame === -1 ? undefined : firstFrame - start)].join('\n'),
    // The line before the source says where a syntax error is.
    stack: stderr.slice(0, end).join('\n'),
    code: code ?? said.map((line) => codeLine.exec(line)?.[1]).find(Boolean) ?? null,
    unset: [],
  }
}
