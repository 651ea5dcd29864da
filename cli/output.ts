import { styleText } from 'node:util'
import { printable } from './printable.ts'

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'

/** Is a person looking at standard output? Colours, progress and questions are for people only. */
export function isTerminal(): boolean {
  return Boolean(process.stdout.isTTY)
}

/** One line of facts on stdout, made safe for a terminal. */
export function print(line = ''): void {
  process.stdout.write(`${printable(line)}\n`)
}

/** One line that is not the answer itself (progress, warnings, errors), on stderr. */
export function note(line: string): void {
  process.stderr.write(`${printable(line)}\n`)
}

/** The answer for programs: one JSON document on stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** Coloured on a terminal, unless NO_COLOR is set; with FORCE_COLOR wherever it goes. */
export function paint(style: Style, text: string, stream: { isTTY?: boolean } = process.stdout): string {
  return isColoured(stream) ? styleText(style, text, { validateStream: false }) : text
}

// no-color.org: set to anything; of FORCE_COLOR the colours are asked for, and 0 is none.
function isColoured({ isTTY = false }: { isTTY?: boolean }): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
  return isTTY && !NO_COLOR && TERM !== 'dumb'
}

/** Rows under headings, columns two spaces apart, as wide as their longest cell; the last column is never padded. */
export function printTable(headings: string[], rows: string[][]): void {
  const lines = [headings, ...rows].map((row) => row.map((cell) => printable(cell)))
  const widths = headings.map((_, column) => Math.max(...lines.map((row) => (row[column] ?? '').length)))
  for (const [index, row] of lines.entries()) {
    const line = row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
    process.stdout.write(`${index === 0 ? paint('dim', line.trimEnd()) : line.trimEnd()}\n`)
  }
}

/** How long ago, in the one unit that matters: `12 s ago`, `3 min ago`, `5 h ago`, `9 d ago`. */
export function ago(time: string | null, now = Date.now()): string {
  if (!time) return '-'
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000))
  if (seconds < 60) return `${seconds} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86_400)} d ago`
}

/** `45 s`, `4 min 12 s`, `3 h 20 min`. */
export function lasts(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
