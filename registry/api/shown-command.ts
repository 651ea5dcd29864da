import { withoutControls } from '../build-logs.ts'

const longestShown = 300
// Shorter ones are parts of other words.
const shortestSecret = 8

/** A command as people may see it in lists: as a shell would take it, on one line, with the values of the app's variables as `[NAME]`. */
export function shownCommand(command: string[], env: Record<string, string>): string {
  const secrets = Object.entries(env).filter(([, value]) => value.length >= shortestSecret)
  secrets.sort(([, one], [, other]) => other.length - one.length)
  const hidden = command.map((word) =>
    secrets.reduce((text, [name, value]) => text.replaceAll(value, `[${name}]`), word.slice(0, 20_000)),
  )
  const line = withoutControls(hidden.map(quoted).join(' ').replace(/\s+/g, ' '))
  return line.length > longestShown ? `${line.slice(0, longestShown - 1)}…` : line
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,[\]-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
