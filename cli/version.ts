import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { print, printJson } from './output.ts'

export function register(program: Command): void {
  program
    .command('version')
    .description('print the version of this command')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: true }) => {
      if (json) printJson({ version: ownVersion(), node: process.versions.node })
      else print(`atelier ${ownVersion()} (Node ${process.versions.node})`)
    })
}

/** The version in package.json, read from the text: parsing nothing else costs nothing. */
export function ownVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')
  return /"version": "([^"]+)"/.exec(text)?.[1] ?? 'unknown'
}
