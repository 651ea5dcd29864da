import { type Command, Option } from 'commander'
import { readStdin } from './ask.ts'
import { type AppOptions, connectToApp, listsByDefault, withApp } from './context.ts'
import { usage } from './failure.ts'
import { ago, print, printJson } from './output.ts'
import { provideApp } from './provide-app.ts'
import { field, readFields } from './reply.ts'

type Host = 'github' | 'gitea'
type LinkOptions = AppOptions & {
  host?: Host
  secret?: string
  token?: string
  apiUrl?: string
  forks?: 'off' | 'approve'
}

export function register(program: Command): void {
  const repo = listsByDefault(
    withApp(program.command('repo')).description(
      'deploy from a repository at GitHub, Gitea or Forgejo: pushes to production, pull requests to previews',
    ),
    show,
  )
  withApp(repo.command('show'))
    .description('show which repository the app is linked to')
    .action((_, command: Command) => show(command.optsWithGlobals()))
  withApp(repo.command('link'))
    .description('link the app (made when missing) to a repository, and say what to enter there as a webhook')
    .argument('<url>', 'as for git clone: https://github.com/octo/hello')
    .addOption(new Option('--host <host>', 'default: github for github.com, else gitea').choices(['github', 'gitea']))
    .option('--secret <secret>', 'what webhooks are signed with; - reads it from standard input; default: a new one')
    .option('--token <token>', 'for private repositories, statuses and comments; - reads it from standard input')
    .option('--api-url <url>', "the host's API, where it is not where it usually is")
    .addOption(
      new Option('--forks <rule>', 'pull requests of forks: off, or built when a commit was approved')
        .choices(['off', 'approve'])
        .default('off'),
    )
    .action((url: string, _, command: Command) => link(url, command.optsWithGlobals()))
  withApp(repo.command('unlink'))
    .description('deploy from there no more, and remove the previews of its pull requests')
    .action((_, command: Command) => unlink(command.optsWithGlobals()))
}

async function show(options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('GET apps/{app}/repo', { params: { app } })
  if (options.json) return printJson(reply)
  const shown = readLink(reply)
  print(`${app} is deployed from ${shown.url} (${shown.host})`)
  print(`  webhooks   ${shown.hook_url ?? 'their address is shown to who may change this'}`)
  print(`  token      ${shown.has_token ? 'set' : 'none: no statuses, no comments, public repositories only'}`)
  print(`  forks      ${shown.forks === 'off' ? 'get no previews' : 'get a preview of each commit that was approved'}`)
  print(`  asked      ${shown.asked_at ? ago(shown.asked_at) : shown.problem ? 'and has never answered' : 'not yet'}`)
  if (shown.problem) print(`  problem    ${shown.problem}`)
}

async function link(url: string, options: LinkOptions): Promise<void> {
  if (options.secret === '-' && options.token === '-') throw usage('standard input can hold one value only')
  const { client, app } = await connectToApp(options)
  const { isNew } = await provideApp(client, app)
  const reply = await client.call('PUT apps/{app}/repo', {
    params: { app },
    json: {
      url,
      host: options.host ?? usualHost(url),
      api_url: options.apiUrl,
      secret: await readSecret(options.secret),
      token: await readSecret(options.token),
      forks: options.forks,
    },
  })
  if (options.json) return printJson(reply)
  if (isNew) print(`Created ${app}`)
  const made = readLink(reply)
  const secret = field(reply, 'secret')
  print(`${app} is linked to ${made.url}. Add a webhook there:`)
  print(`  URL           ${made.hook_url}`)
  print('  content type  application/json')
  print(`  secret        ${typeof secret === 'string' ? `${secret}   (shown this once)` : 'the one you gave'}`)
  // There they are ticked one by one.
  print(
    `  events        ${made.host === 'gitea' ? 'push, pull request, pull request synchronized' : 'pushes, pull requests'}`,
  )
  if (!made.has_token)
    print('Without --token there are no statuses and comments, and only public repositories are read.')
  print(`Whether the host answers is in: atelier repo --app ${app}`)
}

async function unlink(options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  await client.call('DELETE apps/{app}/repo', { params: { app } })
  if (options.json) return printJson({ app_id: app, unlinked: true })
  print(`${app} is deployed from its repository no more; remove the webhook there, too`)
}

function readLink(reply: unknown) {
  return readFields(reply, {
    ...{ url: 'string', host: 'string', hook_url: 'string?', has_token: 'boolean', forks: 'string' },
    ...{ asked_at: 'string?', problem: 'string?' },
  })
}

function usualHost(url: string): Host {
  return URL.parse(url)?.hostname === 'github.com' ? 'github' : 'gitea'
}

async function readSecret(given: string | undefined): Promise<string | undefined> {
  return given === '-' ? (await readStdin()).replace(/\r?\n$/, '') : given
}
