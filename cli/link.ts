import { chmod, mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Command } from 'commander'
import { connectHere, withJson } from './context.ts'
import { Failure, usage } from './failure.ts'
import { git, gitOrFail } from './git.ts'
import { configFolder } from './logins.ts'
import { print, printJson } from './output.ts'
import { provideApp } from './provide-app.ts'
import { readFields } from './reply.ts'

type Linked = { app: string; url: string; gitUrl: string; isNew: boolean }

export function register(program: Command): void {
  withJson(program.command('link'))
    .description(
      'connect this git repository to an app (made when missing), so that git push deploys it and never asks for a password',
    )
    .argument('[app]', "default: the app it is linked to already, else the folder's name")
    .action(link)
}

async function link(name: string | undefined, { json }: { json?: true }): Promise<void> {
  const root = await findRepository()
  const { client, linkedApp } = await connectHere()
  const { reply, isNew } = await provideApp(client, name ?? linkedApp ?? nameOfFolder(root))
  const { id, url, git_url: gitUrl } = readFields(reply, { id: 'string', url: 'string', git_url: 'string' })
  const linked = { app: id, url, gitUrl, isNew }
  await setRemote(linked.gitUrl)
  await setCredentials(linked, client.platform.token)
  const branch = (await git(['branch', '--show-current'])).stdout || 'main'
  if (json) return printJson({ app: linked.app, url: linked.url, git_url: linked.gitUrl, created: linked.isNew })
  print(`${linked.isNew ? 'Created' : 'Linked to'} ${linked.app}: ${linked.url}`)
  print(`deploy it with: git push atelier ${branch}`)
}

async function findRepository(): Promise<string> {
  const { code, stdout } = await git(['rev-parse', '--show-toplevel'])
  if (code === 0) return stdout
  throw new Failure('this folder is not a git repository; make it one with: git init', { code: 'NO_REPOSITORY' })
}

function nameOfFolder(root: string): string {
  const name = basename(root)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, 38)
    .replace(/-+$/, '')
  if (name) return name
  throw usage(`${basename(root)} gives no app name; say one: atelier link <app>`)
}

async function setRemote(url: string): Promise<void> {
  const { code } = await git(['remote', 'get-url', 'atelier'])
  await gitOrFail(['remote', code === 0 ? 'set-url' : 'add', 'atelier', url])
}

/**
 * git's own `store` helper over a private file, for this repository and this platform only: no keychain is asked, nothing of ours runs
 * at a push, and the token goes along with the first request.
 */
async function setCredentials({ app, gitUrl }: Linked, token: string): Promise<void> {
  const { origin, protocol, host } = new URL(gitUrl)
  const file = join(configFolder(), 'git', host.replace(':', '_'), app)
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  // An earlier token of another name would be found first.
  await gitOrFail(['credential-store', '--file', file, 'erase'], {
    input: `protocol=${protocol.slice(0, -1)}\nhost=${host}\n\n`,
  })
  await gitOrFail(['credential-store', '--file', file, 'store'], {
    input: `protocol=${protocol.slice(0, -1)}\nhost=${host}\nusername=atelier\npassword=${token}\n\n`,
  })
  await chmod(file, 0o600)

  const helper = `credential.${origin}.helper`
  // The empty one forgets the helpers of the machine and the user.
  await gitOrFail(['config', '--local', '--replace-all', helper, ''])
  await gitOrFail(['config', '--local', '--add', helper, `store --file ${shellQuoted(file)}`])
  await gitOrFail(['config', '--local', `http.${origin}.proactiveAuth`, 'basic'])
}

// git hands the helper's line to a shell.
function shellQuoted(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`
}
