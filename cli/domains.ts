import type { Command } from 'commander'
import { type AppOptions, connectToApp, listsByDefault, withApp } from './context.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'

export function register(program: Command): void {
  const domains = listsByDefault(
    withApp(program.command('domains')).description('note the host names of an app; nothing is served by them yet'),
    list,
  )
  withApp(domains.command('list'))
    .description('list them')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withApp(domains.command('add'))
    .description('note one')
    .argument('<host>', 'as in www.example.com')
    .action((host: string, _, command: Command) => add(host, command.optsWithGlobals()))
  withApp(domains.command('rm'))
    .description('remove one')
    .argument('<host>')
    .action((host: string, _, command: Command) => remove(host, command.optsWithGlobals()))
}

async function list(options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const pages = await everyPage((query) => client.call('GET apps/{app}/domains', { params: { app }, query }))
  const reply = { domains: pages.flatMap(({ domains }) => domains) }
  if (options.json) return printJson(reply)
  if (reply.domains.length === 0) return print(`${app} has no domains; note one with: atelier domains add <host>`)
  printTable(
    ['HOST', 'NAME', 'ADDED', 'BY'],
    reply.domains.map((one) => [one.host, one.name, ago(one.created_at), one.created_by]),
  )
}

async function add(host: string, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const domain = await client.call('POST apps/{app}/domains', { params: { app }, json: { host } })
  if (options.json) printJson(domain)
  else print(`Noted ${domain.host} for ${app}; nothing is served by it yet`)
}

async function remove(host: string, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  await client.call('DELETE apps/{app}/domains/{host}', { params: { app, host } })
  if (options.json) printJson({ removed: host })
  else print(`Removed ${host} from ${app}`)
}
