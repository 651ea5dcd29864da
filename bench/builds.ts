import { loadavg } from 'node:os'
import { join } from 'node:path'
import type { Atelier } from '../test/support/atelier.ts'
import { run } from '../test/support/command.ts'
import { ask } from '../test/support/http.ts'
import { checkout } from '../test/support/platform.ts'
import { atOnce, type Repo, writeFiles } from '../test/support/repo.ts'
import { type BuiltApp, nextApp, thousandPages, viteApp } from './build-apps.ts'
import { ByHand } from './by-hand.ts'
import { type Row, repeat, seconds } from './measure.ts'
import { untilSeen } from './push.ts'
import { settings } from './settings.ts'

// Between two looks whether it is there: asked every 2 ms for 20 s, the app's answers took 10 s of processor time, and a build gives way to them.
const seldomMs = 50

/**
 * Push → live of a tree that the server has never seen, beside `npm ci && npm run build` of the same tree in an empty folder. Both download every
 * package: ours is a new app, with empty caches; the other's npm, the same version, has an empty cache. By turns, and who is first changes.
 */
export async function measureColdBuilds(atelier: Atelier): Promise<Row[]> {
  const rows: Row[] = []
  for (const app of [await viteApp(), await nextApp(atelier)]) {
    const [ours, theirs]: [number[], number[]] = [[], []]
    await repeat(settings.rounds, async (index) => {
      const sides = [
        async () => ours.push(await coldPush(atelier, app)),
        async () => theirs.push(await coldByHand(atelier, app)),
      ]
      for (const side of index % 2 ? sides.reverse() : sides) await side()
    })
    rows.push({
      what: `push → live, ${app.name}, cold ${shownLoad()}`,
      values: ours,
      unit: 's',
      target: '≤ 1.3 / 1.1',
      rival: { what: 'npm ci && npm run build', values: theirs },
    })
  }
  return rows
}

/** One file changed, beside the bare build of the same change in a folder that keeps its node_modules and the framework's cache. */
export async function measureWarmNext(atelier: Atelier): Promise<Row[]> {
  const app = await nextApp(atelier)
  const { name, repo } = await deployedOnce(atelier, app)
  const bare = await BareBuild.open(atelier, app)
  await bare.install()
  await bare.build()
  const [ours, theirs]: [number[], number[]] = [[], []]
  await repeat(settings.rounds + 1, async (index) => {
    const text = `warm ${index}`
    await repo.commit(app.saying(text))
    ours.push(await untilSeen(repo.push(atOnce), () => atelier.get(name, '/'), text, seldomMs))
    await bare.write(app.saying(text))
    theirs.push(await seconds(() => bare.build()))
  })
  return [
    {
      what: `push → live, ${app.name}, one file changed ${shownLoad()}`,
      // The first change of all is the second build: what the cache holds by then is less than later.
      values: ours.slice(1),
      unit: 's',
      target: '≤ 10 / 5 s',
      rival: { what: 'next build', values: theirs.slice(1) },
    },
  ]
}

/** One page of a thousand changed, beside git's own push and checkout into a folder that a small server reads. */
export async function measureLargeSite(atelier: Atelier): Promise<Row[]> {
  const app = thousandPages()
  const { name, repo } = await deployedOnce(atelier, app)
  const directory = await atelier.directory({ 'server.mjs': fileServer })
  const byHand = await ByHand.create(directory, { build: 'true', serve: `${process.execPath} ../server.mjs` })
  await byHand.push(repo)
  const [ours, theirs]: [number[], number[]] = [[], []]
  await repeat(settings.rounds + 2, async (index) => {
    const text = `changed ${index}`
    await repo.commit(app.saying(text))
    ours.push(await untilSeen(repo.push(atOnce), () => atelier.get(name, '/'), text))
    theirs.push(await untilSeen(byHand.push(repo), () => ask(byHand.port, 'localhost', '/'), text))
  })
  await byHand.close()
  return [
    {
      what: `push → live, ${app.name}, one changed ${shownLoad()}`,
      values: ours,
      unit: 's',
      target: '≤ 2 / 0.7 s',
      rival: { what: 'git push and checkout', values: theirs },
    },
  ]
}

/** A commit that changes no file, pushed; and what is live, deployed again. */
export async function measureUnchanged(atelier: Atelier): Promise<Row[]> {
  const rows: Row[] = []
  for (const app of [thousandPages(), await viteApp(), await nextApp(atelier)]) {
    const { name, repo } = await deployedOnce(atelier, app)
    const [pushes, redeploys]: [number[], number[]] = [[], []]
    await repeat(settings.rounds + 2, async (index) => {
      await repo.git('commit', '--quiet', '--allow-empty', '--message', `nothing ${index}`)
      pushes.push(await seconds(() => repo.push(atOnce)))
      redeploys.push(await seconds(() => mustEndWell(atelier.cli(['redeploy', '--app', name]))))
    })
    rows.push(
      { what: `push → live, unchanged, ${app.name} ${shownLoad()}`, values: pushes, unit: 's', target: '≤ 1 / 0.4 s' },
      { what: `  … atelier redeploy, ${app.name}`, values: redeploys, unit: 's', target: '≤ 1 / 0.4 s' },
    )
  }
  return rows
}

/** What the caches give back, beside what a forced build takes for the same: both as the push itself says. */
export async function measureCaches(atelier: Atelier): Promise<Row[]> {
  const rows: Row[] = []
  for (const app of [await viteApp(), await nextApp(atelier)]) {
    const { repo } = await deployedOnce(atelier, app)
    const [warm, forced]: [string[][], string[][]] = [[], []]
    await repeat(settings.rounds, async (index) => {
      await repo.commit(app.saying(`warm ${index}`))
      warm.push((await repo.push(atOnce)).remote)
      await repo.commit(app.saying(`forced ${index}`))
      forced.push((await repo.push(atOnce, '--push-option=force-build')).remote)
    })
    const row = (what: string, step: string): Row => ({
      what: `${what}, ${app.name} ${shownLoad()}`,
      values: warm.map((lines) => secondsOf(step, lines)),
      unit: 's',
      rival: { what: 'without caches', values: forced.map((lines) => secondsOf(step, lines)) },
    })
    rows.push(row('dependencies restored', 'Installing'), row('  … built with its cache', 'Building'))
  }
  return rows
}

// At the end of the step's own line, or of its last line when it was long.
function secondsOf(step: string, lines: string[]): number {
  const begun = lines.findIndex((line) => line.startsWith(`-----> ${step}`))
  const timed = lines.slice(Math.max(0, begun)).find((line) => / \d+\.\d s$/.test(line))
  return Number(/ (\d+\.\d) s$/.exec(timed ?? '')?.[1])
}

async function coldPush(atelier: Atelier, app: BuiltApp): Promise<number> {
  const { name } = await atelier.createApp()
  const repo = await atelier.clone(name)
  const text = `cold ${name}`
  await repo.commit({ ...app.files, ...app.saying(text) })
  return untilSeen(repo.push(atOnce), () => atelier.get(name, '/'), text, seldomMs)
}

async function coldByHand(atelier: Atelier, app: BuiltApp): Promise<number> {
  const bare = await BareBuild.open(atelier, app)
  await bare.write(app.saying('cold'))
  return seconds(async () => {
    await bare.install()
    await bare.build()
  })
}

async function deployedOnce(atelier: Atelier, app: BuiltApp): Promise<{ name: string; repo: Repo }> {
  const { name } = await atelier.createApp()
  const repo = await atelier.clone(name)
  await repo.commit({ ...app.files, ...app.saying('first') })
  await repo.push()
  return { name, repo }
}

async function mustEndWell(running: Promise<{ code: number | null; stderr: string }>): Promise<void> {
  const { code, stderr } = await running
  if (code !== 0) throw new Error(`the command ended with ${code}: ${stderr}`)
}

/** The app in a folder, with the npm that builds on the platform are given, a cache of its own, and no walls. */
export class BareBuild {
  readonly #directory: string
  readonly #env: NodeJS.ProcessEnv

  static async open(atelier: Atelier, app: BuiltApp): Promise<BareBuild> {
    const cache = await atelier.directory()
    return new BareBuild(await atelier.directory({ ...app.files, ...app.saying('first') }), cache)
  }

  private constructor(directory: string, cache: string) {
    this.#directory = directory
    this.#env = {
      ...process.env,
      CI: 'true',
      NEXT_TELEMETRY_DISABLED: '1',
      NODE_ENV: undefined,
      npm_config_cache: cache,
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    }
  }

  write(files: Parameters<typeof writeFiles>[1]): Promise<void> {
    return writeFiles(this.#directory, files)
  }

  install(): Promise<void> {
    return this.#npm(['ci'])
  }

  build(): Promise<void> {
    return this.#npm(['run', 'build'])
  }

  async #npm(args: string[]): Promise<void> {
    const npm = join(checkout, 'node_modules/npm/bin/npm-cli.js')
    const { code, stderr } = await run(process.execPath, [npm, ...args], { cwd: this.#directory, env: this.#env })
    if (code !== 0) throw new Error(`npm ${args.join(' ')} ended with ${code}: ${stderr}`)
  }
}

const fileServer = `import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
createServer(async (_request, response) => response.end(await readFile('index.html'))).listen(process.env.PORT)
`

/** How busy the machine is: with others at work on it, the ratios hold and the numbers do not. */
export function shownLoad(): string {
  return `(load ${loadavg()[0]?.toFixed(1)})`
}
