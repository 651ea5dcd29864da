import { spawn } from 'node:child_process'
import type { Command } from 'commander'
import { type AppOptions, connect, connectToApp, withApp } from './context.ts'
import { isTerminal, print, printJson } from './output.ts'
import { readFields } from './reply.ts'

type Options = AppOptions & { console?: true }

export function register(program: Command): void {
  withApp(program.command('open'))
    .description("print the app's address and open it in a browser")
    .option('--console', 'the console instead, signed in by a one-time link')
    .action(open)
}

async function open(options: Options): Promise<void> {
  const reply = options.console ? await (await connect()).call('POST console-links') : await appReply(options)
  const { url } = readFields(reply, { url: 'string' })
  if (options.json) return printJson({ url })
  print(url)
  if (isTerminal() && /^https?:\/\//.test(url)) showInBrowser(url)
}

async function appReply(options: Options): Promise<unknown> {
  const { client, app } = await connectToApp(options)
  return client.call('GET apps/{app}', { params: { app } })
}

// The address is printed already: where there is no browser, that has to do.
function showInBrowser(url: string): void {
  const opener = process.platform === 'darwin' ? 'open' : 'xdg-open'
  const child = spawn(opener, [url], { stdio: 'ignore', detached: true })
  child.once('error', () => child.unref())
  child.unref()
}
