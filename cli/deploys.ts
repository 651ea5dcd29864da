import { type Command, InvalidArgumentError } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { howItRuns } from './host-words.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { field, readDeployment, readList, shortVersion } from './reply.ts'

export function register(program: Command): void {
  withApp(program.command('deploys'))
    .description('list the deployments of an app, newest first')
    .option('-n, --limit <number>', 'how many', parseLimit, 20)
    .action(list)
}

async function list(options: AppOptions & { limit: number }): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('GET deploys', { query: { app, limit: options.limit } })
  if (options.json) return printJson(reply)
  const deployments = readList(reply, 'deployments', (one) => ({
    ...readDeployment(one),
    runs: howItRuns(field(one, 'host')),
  }))
  if (deployments.length === 0) return print(`${app} has no deployments yet; make one with: git push atelier main`)
  printTable(
    ['', 'VERSION', 'BRANCH', 'STATE', 'BY', 'WHEN', 'ID', 'NOTE'],
    deployments.map((one) => [
      `v${one.number}`,
      shortVersion(one.version),
      one.branch,
      [one.state.replace('_', ' '), one.runs].filter(Boolean).join(', '),
      one.created_by,
      ago(one.created_at),
      one.id,
      noteOn(one.state_reason, one.subject),
    ]),
  )
}

// One line, whatever a build or a commit had to say.
function noteOn(reason: string | null, subject: string | null): string {
  const text = (reason ?? subject ?? '').split('\n')[0] ?? ''
  return text.length > 60 ? `${text.slice(0, 59)}…` : text
}

function parseLimit(text: string): number {
  const limit = Number(text)
  if (Number.isInteger(limit) && limit >= 1 && limit <= 200) return limit
  throw new InvalidArgumentError('It must be a number from 1 to 200.')
}
