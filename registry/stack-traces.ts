const shownTraces = 3
const shownFrames = 5
const longestLine = 300

/**
 * The first three different stack traces in what an app wrote: lines `    at …` below the line that names the error. Two are the same when error and
 * place are, whatever numbers (ids, times) the message holds.
 */
export function findStackTraces(lines: readonly string[]): string[] {
  const traces = new Map<string, string>()
  for (let index = 1; index < lines.length && traces.size < shownTraces; index++) {
    const [head, first] = [lines[index - 1] ?? '', lines[index] ?? '']
    if (!isFrame(first) || isFrame(head) || head.trim() === '') continue
    const end = lines.findIndex((line, at) => at > index && !isFrame(line))
    const frames = lines.slice(index, end < 0 ? undefined : end).slice(0, shownFrames)
    const key = `${head.replace(/\d+/g, '0')}\n${first.trim()}`
    if (!traces.has(key)) traces.set(key, [head, ...frames.map((frame) => `    ${frame.trim()}`)].map(cut).join('\n'))
  }
  return [...traces.values()]
}

function isFrame(line: string): boolean {
  return /^\s+at \S/.test(line)
}

function cut(line: string): string {
  const text = line.trimEnd()
  return text.length > longestLine ? `${text.slice(0, longestLine)}…` : text
}
