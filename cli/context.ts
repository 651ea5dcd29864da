import type { Command } from 'commander'
import { Client } from './client.ts'
import { Failure, usage } from './failure.ts'
import { readRemoteUrl } from './git.ts'
import { apiOfRemote, findPlatform } from './platform.ts'

/** What commands about one app take: which app, and whether programs read the answer. */
export type AppOptions = { app?: string; json?: true }

export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON')
}

export function withApp(command: Command): Command {
  return withJson(command.option('-a, --app <app>', 'the app; default: the one this git repository is linked to'))
}

/** Makes a command that has others below it do `list` when none of them is named. */
export function listsByDefault<O>(command: Command, list: (options: O, command: Command) => Promise<void>): Command {
  return command
    .argument('[none]')
    .usage('[options] [command]')
    .allowExcessArguments()
    .action(async (none: string | undefined, options: O) => {
      if (none === undefined) return list(options, command)
      throw usage(
        `${command.name()} has no command ${none}; it has ${command.commands.map((one) => one.name()).join(', ')}`,
      )
    })
}

/** A client of the platform this directory, or else this user, belongs to. */
export async function connect(): Promise<Client> {
  return (await connectHere()).client
}

/** The same, with the app this directory is linked to, if any. */
export async function connectHere(): Promise<{ client: Client; linkedApp: string | null }> {
  // Loading HTTP takes longer than git does: they go on side by side.
  const [remoteUrl] = await Promise.all([readRemoteUrl(), import('node:http')])
  return { client: new Client(findPlatform(remoteUrl)), linkedApp: remoteUrl && appOfRemote(remoteUrl) }
}

/** The same, with the app a command is about: `--app`, else the app of the git remote `atelier`. */
export async function connectToApp({ app }: AppOptions): Promise<{ client: Client; app: string }> {
  const { client, linkedApp } = await connectHere()
  const name = app ?? linkedApp
  if (name) return { client, app: name }
  throw new Failure(
    'it is not said which app this is about; run this in a linked repository (atelier link), or add --app <app>',
    {
      exitCode: 2,
      code: 'NO_APP',
    },
  )
}

/** `hello` of `http://git.localhost:8080/hello.git`; null when the URL is no platform's. */
export function appOfRemote(remoteUrl: string): string | null {
  if (!apiOfRemote(remoteUrl)) return null
  return /^\/([a-z][a-z0-9-]*)(\.git)?\/?$/.exec(new URL(remoteUrl).pathname)?.[1] ?? null
}
