import { stripVTControlCharacters } from 'node:util'
import { printable } from './printable.ts'

/** Lines on a terminal that are drawn again in their place. Only for a terminal. */
export class LiveLines {
  #rows = 0

  draw(lines: string[]): void {
    const up = this.#rows > 0 ? `\u001b[${this.#rows}A` : ''
    const shown = lines.map(printable)
    process.stdout.write(`${up}\u001b[J${shown.map((line) => `${line}\n`).join('')}`)
    this.#rows = shown.reduce((rows, line) => rows + rowsOf(line), 0)
  }
}

// A line that is wider than the terminal takes several.
function rowsOf(line: string): number {
  const columns = process.stdout.columns || 80
  return Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns))
}
