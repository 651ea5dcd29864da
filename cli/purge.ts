import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { Failure, usage } from './failure.ts'
import { print, printJson } from './output.ts'
import { readFields } from './reply.ts'

type PurgeOptions = AppOptions & { tag?: string[]; path?: string[]; all?: true }

export function register(program: Command): void {
  withApp(program.command('purge'))
    .description(
      "have every edge forget cached answers of an app's versions; the next request for each reaches the app",
    )
    .option('--tag <tag...>', 'those that carry this tag (the header Cache-Tag)')
    .option('--path <path...>', 'those of this path, with every query; /blog/* for all below')
    .option('--all', 'all of them')
    .action(purge)
}

async function purge(options: PurgeOptions): Promise<void> {
  const { tag = [], path = [] } = options
  const all = options.all ?? false
  if (!all && tag.length + path.length === 0) throw usage('say what to forget: --tag <tag>, --path </path>, or --all')
  if (all && tag.length + path.length > 0) throw usage('--all is everything: leave --tag and --path out')
  const { client, app } = await connectToApp(options)
  const reply = await client.call('POST apps/{app}/purge', { params: { app }, json: { tags: tag, paths: path, all } })
  const { edges, missing } = readFields(reply, { edges: 'number', missing: 'number' })
  if (options.json) printJson(reply)
  else print(`${app}: ${named({ tag, path, all })} purged on ${edges} ${edges === 1 ? 'edge' : 'edges'}`)
  if (missing === 0) return
  const message = `${missing} ${missing === 1 ? 'edge has' : 'edges have'} not said so yet, and will do it when they can be reached; see: atelier status`
  throw new Failure(message, { exitCode: 3, code: 'PURGE_INCOMPLETE', isTold: options.json ?? false })
}

function named({ tag, path, all }: { tag: string[]; path: string[]; all: boolean }): string {
  if (all) return 'everything'
  const tags = tag.length > 0 ? [`${tag.length === 1 ? 'tag' : 'tags'} ${tag.join(', ')}`] : []
  return [...tags, ...path].join(', ')
}
