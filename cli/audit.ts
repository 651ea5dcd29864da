import { type Command, InvalidArgumentError } from 'commander'
import type { AuditEntry } from './api-types.ts'
import { connect, withJson } from './context.ts'
import { ago, paint, print, printJson, printTable } from './output.ts'

type Options = { app?: string; who?: string; limit: number; cursor?: string; json?: true }

export function register(program: Command): void {
  withJson(program.command('audit'))
    .description('show who did what, from where, the newest first: of the apps you own; as an admin, of everything')
    .option('-a, --app <app>', 'of this app only')
    .option('--who <name>', 'of this person or token only')
    .option('--limit <n>', 'so many', parseCount, 50)
    .option('--cursor <next>', 'what follows the page that named it')
    .action(show)
}

async function show({ app, who, limit, cursor, json }: Options): Promise<void> {
  const reply = await (await connect()).call('GET audit', { query: { app, who, limit, cursor } })
  if (json) return printJson(reply)
  if (reply.entries.length === 0) return print('Nothing was done yet that would stand here')
  printTable(
    ['WHEN', 'WHO', 'FROM', 'WHAT', 'APP', 'OUTCOME'],
    reply.entries.map((entry) => [
      ago(entry.at),
      entry.who,
      entry.from ? `${entry.from} (${entry.via})` : entry.via,
      `${entry.what}${detailOf(entry)}`,
      entry.app_id ?? '',
      entry.outcome === null || entry.outcome === 'done' ? (entry.outcome ?? 'not known') : paint('red', entry.outcome),
    ]),
  )
  if (reply.next) print(`more: atelier audit --cursor ${reply.next}`)
}

// What stands in a column of its own is not said twice.
function detailOf({ detail }: AuditEntry): string {
  const { app, app_id, ...rest } = detail
  const said = Object.entries(rest).filter(([, value]) => value !== null)
  return said.length === 0 ? '' : ` ${said.map(([name, value]) => `${name}=${textOf(value)}`).join(' ')}`
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function parseCount(text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count >= 1) return count
  throw new InvalidArgumentError('It must be a whole number, 1 or more.')
}
