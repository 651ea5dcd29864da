import type { Command } from 'commander'
import { type AppOptions, connectHere, withApp } from './context.ts'
import { howItRuns } from './host-words.ts'
import { ago, isTerminal, paint, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'
import { field, readDeployment, readFields, readList, shortVersion } from './reply.ts'
import { readOptional, readRollout } from './rollout-json.ts'
import { rolloutLines } from './rollout-text.ts'
import { watchRollout } from './watch-rollout.ts'

export function register(program: Command): void {
  withApp(program.command('status'))
    .description('show what is live where and what is on its way; in a linked repository of that app, else of all')
    .option('--once', 'do not stay to watch a rollout, as without a terminal')
    .action(status)
}

async function status(options: AppOptions & { once?: true }): Promise<void> {
  const { client, linkedApp } = await connectHere()
  const app = options.app ?? linkedApp ?? undefined
  const pages = await everyPage((page) => client.call('GET status', { query: { ...page, app } }))
  const reply = { platform: pages[0].platform, apps: pages.flatMap(({ apps }) => apps) }
  if (options.json) return printJson(reply)

  const platform = readFields(field(reply, 'platform'), { edges: 'number', queued: 'number', running: 'number' })
  print(`${client.platform.api}: ${edgesOf(platform.edges)}, ${platform.running} building, ${platform.queued} waiting`)
  const isolation = readFields(field(field(reply, 'platform'), 'isolation'), { mode: 'string?', summary: 'string?' })
  if (isolation.mode && isolation.mode !== 'full') print(isolationLine(isolation.mode, isolation.summary ?? ''))
  const rows = readList(reply, 'apps', readRow)
  if (rows.length === 0) return print('No apps yet; make one with: atelier link <app>')
  printTable(['APP', 'BRANCH', 'LIVE', 'SINCE', 'RUNS', 'NEWEST ATTEMPT', 'ADDRESS'], rows)
  for (const line of readList(reply, 'apps', lockLines).flat()) print(line)
  const rollouts = readList(reply, 'apps', (one) => readOptional(field(one, 'rollout'), readRollout))
  const shown = rollouts.filter((rollout) => rollout !== null)
  const [only] = shown
  if (app && only && !only.why && isTerminal() && !options.once) {
    print()
    return watchRollout(client, app)
  }
  for (const line of shown.flatMap((rollout) => ['', ...rolloutLines(rollout)])) print(line)
}

function lockLines(state: unknown): string[] {
  const { app_id } = readFields(state, { app_id: 'string' })
  const locks = readList(state, 'locks', (lock) =>
    readFields(lock, { kind: 'string', message: 'string', by: 'string', at: 'string' }),
  )
  return locks.map(({ kind, message, by, at }) =>
    kind === 'lock'
      ? paint(
          'yellow',
          `${app_id} is locked by ${by} (${message}), ${ago(at)}; to lift it: atelier unlock --app ${app_id}`,
        )
      : `automatic deployments of ${app_id} wait: ${message}; to let them on: atelier unlock --app ${app_id}`,
  )
}

function readRow(state: unknown): string[] {
  const { app_id, branch, url } = readFields(state, { app_id: 'string', branch: 'string', url: 'string' })
  const live = readOptional(field(state, 'live'), readDeployment)
  const runs = live ? howItRuns(field(field(state, 'live'), 'host')) : ''
  const latest = readOptional(field(state, 'latest'), readDeployment)
  const attempt =
    latest && latest.id !== live?.id ? `${shortVersion(latest.version)} ${latest.state.replace('_', ' ')}` : ''
  return [app_id, branch, live ? shortVersion(live.version) : '-', ago(live?.state_since ?? null), runs, attempt, url]
}

function isolationLine(mode: string, summary: string): string {
  const line = `isolation ${mode}: ${summary}; see: atelier doctor`
  return mode === 'strong' ? line : paint('red', line)
}

function edgesOf(count: number): string {
  return count === 1 ? '1 edge serving' : `${count} edges serving`
}
