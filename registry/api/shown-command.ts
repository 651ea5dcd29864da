import { withoutControls } from '../build-logs.ts'
import { Mask } from '../mask.ts'

const longestShown = 300

/** A command as people may see it in lists: as a shell would take it, on one line, with the values of the app's variables as `[NAME]`. */
export function shownCommand(command: string[], env: Record<string, string>): string {
  const mask = new Mask(env)
  const hidden = command.map((word) => onOneLine(mask.text(word.slice(0, 20_000))))
  const line = withoutControls(hidden.map(quoted).join(' ').replace(/\s+/g, ' '))
  return line.length > longestShown ? `${line.slice(0, longestShown - 1)}…` : line
}

// Of a value with several lines its name is there for each of them.
function onOneLine(lines: string[]): string {
  return lines.join(' ').replace(/(\[\w+\])(?: \1)+/g, '$1')
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,[\]-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
