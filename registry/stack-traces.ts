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
    const frames = lines.slice(index, end < 0 ? undefined : end)
    const own = frames.filter((frame) => !isOfPlatform(frame)).slice(0, shownFrames)
    const key = `${head.replace(/\d+/g, '0')}\n${first.trim()}`
    if (!traces.has(key)) traces.set(key, [head, ...own.map(shorten)].map(cut).join('\n'))
  }
  return [...traces.values()]
}

function isFrame(line: string): boolean {
  return /^\s+at \S/.test(line)
}

// What carries the app, and Node below it, are on every trace.
function isOfPlatform(frame: string): boolean {
  return /\/runtime\/scripts-[0-9a-f]+\/|[( ]node:internal\//.test(frame)
}

// Where the app's code lies on the edge's disk means nothing to the person who wrote it.
function shorten(frame: string): string {
  return `    ${frame.trim().replace(/(file:\/\/)?\/\S*?\/[a-z][a-z0-9]{11}\/code\//, '')}`
}

function cut(line: string): string {
  const text = line.trimEnd()
  return text.length > longestLine ? `${text.slice(0, longestLine)}…` : text
}
