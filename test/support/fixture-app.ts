import { createHash, randomUUID } from 'node:crypto'
import { copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { build } from 'esbuild'
import { codeOf } from '../../registry/errors.ts'
import { run } from './command.ts'
import { checkout } from './platform.ts'

/** A folder of `test/fixtures` with a lockfile, whose programs are bundled with its real packages from npm into one file each. */
export class FixtureApps {
  readonly #folder: string
  readonly #modules: string

  /** Installs what the lockfile says, once for all runs: what is there needs no network. */
  static async open(name: string): Promise<FixtureApps> {
    const folder = join(checkout, 'test/fixtures', name)
    const lock = await readFile(join(folder, 'package-lock.json'))
    const digest = createHash('sha256').update(lock).digest('hex').slice(0, 16)
    const installed = join(checkout, 'node_modules/.cache/atelier-tests', `${name}-${digest}`)
    const apps = new FixtureApps(folder, join(installed, 'node_modules'))
    if (await apps.#isInstalled()) return apps

    const making = `${installed}.${randomUUID()}`
    await mkdir(making, { recursive: true })
    for (const file of ['package.json', 'package-lock.json']) await copyFile(join(folder, file), join(making, file))
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
    const { code, stderr } = await run('npm', ['ci', ...options], { cwd: making, env: process.env })
    if (code !== 0) throw new Error(`the packages of ${name} could not be installed: ${stderr}`)
    try {
      await rename(making, installed)
    } catch (thrown) {
      // Another run was first.
      if (!['EEXIST', 'ENOTEMPTY'].includes(codeOf(thrown) ?? '')) throw thrown
      await rm(making, { recursive: true })
    }
    return apps
  }

  private constructor(folder: string, modules: string) {
    this.#folder = folder
    this.#modules = modules
  }

  /** The code of one program. `optional` are packages that its packages would load if they were there. */
  async bundle(file: string, format: 'cjs' | 'esm', optional: string[] = []): Promise<string> {
    const { outputFiles } = await build({
      ...{ entryPoints: [join(this.#folder, file)], bundle: true, write: false, nodePaths: [this.#modules] },
      ...{ platform: 'node', format, keepNames: true, external: optional, logLevel: 'error' },
    })
    return outputFiles[0]?.text ?? ''
  }

  /** One of the packages itself, for the test's own side. */
  load(name: string): unknown {
    return createRequire(join(this.#modules, 'anybody.js'))(name)
  }

  async #isInstalled(): Promise<boolean> {
    try {
      await readFile(join(this.#modules, '.package-lock.json'))
      return true
    } catch (thrown) {
      if (codeOf(thrown) === 'ENOENT') return false
      throw thrown
    }
  }
}
