import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test as base } from 'vitest'
import { type ApartOptions, ApartPlatform, type PartName } from './apart.ts'
import { type CommandResult, run } from './command.ts'
import { type Answer, type Ask, ask } from './http.ts'
import { checkout, Platform, type PlatformOptions, plainEnv, type RoleName } from './platform.ts'
import { type Files, Repo, writeFiles } from './repo.ts'
import { Traffic } from './traffic.ts'

export type App = { name: string }
/** However its parts are started. */
export type AnyPlatform = Platform | ApartPlatform

/**
 * The test function of every file that needs the platform: `atelier` is one platform for the whole file, started on first use.
 * `test.override('platformEnv', { ATELIER_…: '…' })` at the top of a file sets it up differently.
 */
export const test = base
  .extend('platformEnv', { scope: 'file' }, (): Record<string, string> => ({}))
  .extend('atelier', { scope: 'file' }, async ({ platformEnv }, { onCleanup }) => {
    const atelier = await Atelier.start({ env: platformEnv })
    onCleanup(() => atelier.close())
    return atelier
  })

/** The same for the roles on machines of their own; `test.override('apartOptions', …)`. */
export const testApart = base
  .extend('apartOptions', { scope: 'file' }, (): ApartOptions => ({}))
  .extend('atelier', { scope: 'file' }, async ({ apartOptions }, { onCleanup }) => {
    const atelier = await Atelier.startApart(apartOptions)
    onCleanup(() => atelier.close())
    return atelier
  })

/** The whole platform with a home of its own, and a person beside it: real git, real requests to the edge, the real command. */
export class Atelier<P extends AnyPlatform = Platform> {
  readonly platform: P
  /** Where the person keeps his things. */
  readonly #desk: string
  readonly #personEnv: NodeJS.ProcessEnv

  /** Takes one to three seconds. */
  static async start(options: PlatformOptions = {}): Promise<Atelier> {
    return Atelier.around(await Platform.prepare(options))
  }

  /** The same with every role a process by itself, two workers and two proxies among them. */
  static async startApart(options: ApartOptions = {}): Promise<Atelier<ApartPlatform>> {
    return Atelier.around(await ApartPlatform.prepare(options))
  }

  private static async around<P extends AnyPlatform>(platform: P): Promise<Atelier<P>> {
    const atelier = new Atelier(platform)
    await atelier.#furnish()
    await platform.start()
    return atelier
  }

  private constructor(platform: P) {
    this.platform = platform
    this.#desk = join(platform.scratch, 'desk')
    this.#personEnv = {
      ...plainEnv(),
      HOME: this.#desk,
      XDG_CONFIG_HOME: join(this.#desk, '.config'),
      ATELIER_HOME: platform.home,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_TERMINAL_PROMPT: '0',
      LC_ALL: 'C.UTF-8',
    }
  }

  get home(): string {
    return this.platform.home
  }

  get port(): number {
    return this.platform.port
  }

  /** Stops the platform, fails when something of it is left running, and removes its home. */
  async close(): Promise<void> {
    await this.platform[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Creates an app through the API; a name of its own when none is given. */
  async createApp(name = `app-${randomBytes(3).toString('hex')}`): Promise<App> {
    const { status, body } = await this.api('POST', 'apps', { name })
    if (status >= 300) throw new Error(`creating ${name} was answered ${status}: ${body}`)
    return { name }
  }

  /** A working copy by real `git clone`, on branch main; its remote `atelier` carries the token. */
  async clone(app: App | string): Promise<Repo> {
    const directory = await this.directory()
    const repo = new Repo(directory, this.#personEnv)
    await repo.git('clone', '--quiet', '--origin', 'atelier', await this.gitUrl(app), '.')
    return repo
  }

  /** A working copy in a directory that is, or will be made, a repository. */
  repoIn(directory: string): Repo {
    return new Repo(directory, this.#personEnv)
  }

  /** A new directory with these files, inside no repository. */
  async directory(files: Files = {}): Promise<string> {
    const directory = await mkdtemp(join(this.#desk, 'work-'))
    await writeFiles(directory, files)
    return directory
  }

  /** The URL of an app's repository with the token in it, as git takes it. */
  async gitUrl(app: App | string): Promise<string> {
    const token = await this.platform.adminToken()
    return `http://me:${token}@git.localhost:${this.port}/${nameOf(app)}.git`
  }

  /** A request to the edge, as a visitor's browser would make it. `app` is an app, or the host label of a preview. */
  get(app: App | string, path: string, options?: Ask): Promise<Answer> {
    return this.getFrom(this.port, app, path, options)
  }

  /** The same to one of several proxies. */
  getFrom(port: number, app: App | string, path: string, options?: Ask): Promise<Answer> {
    return ask(port, `${nameOf(app)}.apps.localhost`, path, options)
  }

  /** A request to the API with the admin's token, or another `token`. */
  async api(method: string, path: string, json?: unknown, { token }: { token?: string } = {}): Promise<Answer> {
    const bearer = token ?? (await this.platform.adminToken())
    return ask(this.port, 'api.localhost', `/api/platform/${path}`, {
      method,
      headers: { authorization: `Bearer ${bearer}`, ...(json !== undefined && { 'content-type': 'application/json' }) },
      ...(json !== undefined && { body: JSON.stringify(json) }),
    })
  }

  /** `await using traffic = atelier.keepRequesting(app, '/')` */
  keepRequesting(app: App | string, path: string, { port = this.port }: { port?: number } = {}): Traffic {
    return new Traffic(port, `${nameOf(app)}.apps.localhost`, path)
  }

  /** Runs the `atelier` command as the person does, in a directory and with further variables if given. */
  cli(
    args: string[],
    { cwd = this.#desk, env = {}, input }: { cwd?: string; env?: NodeJS.ProcessEnv; input?: string } = {},
  ): Promise<CommandResult> {
    return run(process.execPath, [join(checkout, 'cli/atelier.mjs'), ...args], {
      cwd,
      env: { ...this.#personEnv, ...env },
      ...(input !== undefined && { input }),
    })
  }

  /** Runs another program as the person does; rejects with what it said when it fails. */
  async run(program: string, args: string[], { cwd = this.#desk }: { cwd?: string } = {}): Promise<CommandResult> {
    const result = await run(program, args, { cwd, env: this.#personEnv })
    if (result.code === 0) return result
    throw new Error(`${program} ${args.join(' ')} ended with ${result.code}\n${result.stdout}${result.stderr}`)
  }

  /** kill -9 of a role; resolves to the id of the process that is gone. */
  kill(role: P extends Platform ? RoleName : PartName): Promise<number> {
    const platform: { kill(name: string): Promise<number> } = this.platform
    return platform.kill(role)
  }

  async #furnish(): Promise<void> {
    await mkdir(this.#desk)
    const config = ['[user]', 'name = A Person', 'email = person@example.com', '[init]', 'defaultBranch = main']
    await writeFile(join(this.#desk, '.gitconfig'), `${config.join('\n')}\n`)
  }
}

function nameOf(app: App | string): string {
  return typeof app === 'string' ? app : app.name
}
