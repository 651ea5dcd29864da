import { cleanLine } from '../registry/build-logs.ts'

/** Text from anywhere as one line without colours or anything else that steers a terminal, cut at `maxLength` characters. */
export function plainLine(text: string, maxLength: number): string {
  const line = cleanLine(text.replaceAll(/\s+/g, ' '))
    .replaceAll(/\x1b\[[0-9;]*m/g, '')
    .trim()
  return line.length > maxLength ? `${line.slice(0, maxLength)}…` : line
}
