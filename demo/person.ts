import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Repo } from '../test/support/repo.ts'
import type { DemoPlatform } from './platform.ts'

/** Somebody with a working copy of a new app, whose git knows nothing of this machine's other users. */
export class Person {
  readonly repo: Repo
  readonly #env: NodeJS.ProcessEnv

  static async with(platform: DemoPlatform, app: string): Promise<Person> {
    await platform.api('POST', 'apps', { name: app })
    const settings = ['[user]', 'name = A Person', 'email = person@example.com', '[init]', 'defaultBranch = main']
    await writeFile(join(platform.desk, '.gitconfig'), `${settings.join('\n')}\n`)
    const directory = join(platform.desk, app)
    await mkdir(directory)
    const person = new Person(directory, platform.desk)
    await person.repo.git('init', '--quiet')
    const url = `http://me:${await platform.token()}@git.localhost:${platform.port}/${app}.git`
    await person.repo.git('remote', 'add', 'atelier', url)
    return person
  }

  private constructor(directory: string, home: string) {
    const foreign = /^(GIT_(?!SSL)|npm_)/
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
    this.#env = { ...env, HOME: home, XDG_CONFIG_HOME: home, GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
    this.repo = new Repo(directory, this.#env)
  }

  /** `git push atelier main`; `isShown`: with what it says. Throws when it fails. */
  async push({ isShown, signal }: { isShown: boolean; signal: AbortSignal }): Promise<void> {
    const child = spawn('git', ['push', '--no-progress', 'atelier', 'main'], {
      cwd: this.repo.directory,
      env: this.#env,
      stdio: ['ignore', 'ignore', isShown ? 'inherit' : 'pipe'],
    })
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const leave = () => child.kill()
    signal.addEventListener('abort', leave)
    const [code] = await once(child, 'close')
    signal.removeEventListener('abort', leave)
    signal.throwIfAborted()
    if (code !== 0) throw new Error(`git push ended with ${code}\n${said}`)
  }
}
