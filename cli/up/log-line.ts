const warnLevel = 40

/** A line of a role's log that a person should see. */
export type LogLine = { level: 'warn' | 'error'; text: string }

/** A pino line of level warn or above as a sentence; text that is not a log line (a stack trace) is an error; what is milder is null. */
export function readLogLine(line: string): LogLine | null {
  const entry = parse(line)
  if (!entry) return { level: 'error', text: line }
  const { level, time: _time, role: _role, msg, err, ...fields } = entry
  if (typeof level !== 'number' || level < warnLevel) return null

  const facts = Object.entries(fields).map(([name, value]) => `${name}=${show(value)}`)
  const cause = typeof err === 'object' && err && 'message' in err ? [`(${err.message})`] : []
  return { level: level > warnLevel ? 'error' : 'warn', text: [msg, ...facts, ...cause].join(' ') }
}

function parse(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null
  try {
    return JSON.parse(line)
  } catch {
    return null // cut in the middle, or a program's own text
  }
}

function show(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
