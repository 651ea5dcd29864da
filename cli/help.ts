import type { Command } from 'commander'
import { examples } from './examples.ts'

/** In the order of a first day; a command that stands nowhere is shown last. */
const groups: [heading: string, names: string[]][] = [
  ['Begin:', ['up', 'login', 'link', 'dev', 'whoami', 'logout']],
  ['Deploy:', ['deploy', 'redeploy', 'deploys', 'diff', 'routes', 'cancel', 'previews', 'repo']],
  ['Roll out, and back:', ['status', 'rollback', 'promote', 'pause', 'resume', 'abort', 'lock', 'unlock']],
  ['An app:', ['apps', 'open', 'logs', 'run', 'env', 'domains', 'db', 'purge', 'webhooks', 'members']],
  ['The platform:', ['tokens', 'people', 'audit', 'keys', 'doctor', 'serve']],
]
const rest = 'More:'

/** The heading a command stands under. */
export function groupOf(name: string): string {
  return groups.find(([, names]) => names.includes(name))?.[0] ?? rest
}

/** The names in the order of the groups. */
export function inOrder(names: string[]): string[] {
  const known = groups.flatMap(([, grouped]) => grouped)
  return [...known.filter((name) => names.includes(name)), ...names.filter((name) => !known.includes(name))]
}

/** Adds the examples to a command's help. */
export function addExamples(command: Command): void {
  const lines = examples[command.name()]
  if (lines) command.addHelpText('after', `\nExamples:\n${shown(lines)}`)
}

/** What those read who have just come. */
export const firstSteps = `
First steps:
${shown([
  ['atelier up', 'start the platform on this machine'],
  ['atelier link hello', 'in the repository of your app'],
  ['git push atelier main', 'it is live'],
  ['atelier help deploy', 'a command in full, with examples'],
])}

Exit codes: 0 done, 1 your input or a failed deployment, 2 usage, 3 the platform or its network; of atelier run, its command's.`

function shown(lines: [line: string, what: string][]): string {
  const width = Math.min(44, Math.max(...lines.map(([line]) => line.length)))
  return lines.map(([line, what]) => `  ${what ? `${line.padEnd(width)}  ${what}` : line}`).join('\n')
}
