import type { Atelier } from '../test/support/atelier.ts'
import { atOnce, type Repo } from '../test/support/repo.ts'
import { type BuiltApp, nextApp, viteApp } from './build-apps.ts'
import { shownLoad } from './builds.ts'
import { deployed } from './compare.ts'
import { fetchApp } from './edge.ts'
import type { Row } from './measure.ts'
import { repeat } from './measure.ts'
import { type PacedResult, pacedLatency } from './paced-load.ts'
import { settings } from './settings.ts'

const perSecond = 300

/** A live fetch app at a constant rate, by turns on a quiet platform and while a Next.js and a Vite app are built, each anew as soon as it is live. */
export async function measureBesideBuilds(atelier: Atelier): Promise<Row[]> {
  const live = await deployed(atelier, 'beside-builds', fetchApp)
  const builders = [await Builder.open(atelier, await nextApp(atelier)), await Builder.open(atelier, await viteApp())]
  const ask = () => {
    const { port, host = '', path = '/' } = live
    return pacedLatency({ port, host, path, rate: perSecond, connections: 64, seconds: settings.seconds })
  }
  const [quiet, busy]: [PacedResult[], PacedResult[]] = [[], []]
  await ask()
  await repeat(settings.rounds, async () => {
    quiet.push(await ask())
    for (const builder of builders) builder.begin()
    busy.push(await ask())
    await Promise.all(builders.map((builder) => builder.end()))
  })
  const row = (what: string, of: keyof PacedResult): Row => ({
    what,
    values: busy.map((result) => result[of]),
    unit: 'ms',
    rival: { what: 'without builds', values: quiet.map((result) => result[of]) },
  })
  const built = builders.reduce((sum, { count }) => sum + count, 0)
  return [
    { ...row(`p99 of ${perSecond} req/s beside two builds ${shownLoad()}`, 'p99'), target: '≤ 2 / 1.2 × without' },
    row(`  … p50 (${built} builds)`, 'p50'),
    row('  … how late the client asked, p99', 'late99'),
  ]
}

/** Changes an app and pushes it, again and again. */
class Builder {
  count = 0
  readonly #app: BuiltApp
  readonly #repo: Repo
  #isWanted = false
  #running: Promise<void> = Promise.resolve()

  static async open(atelier: Atelier, app: BuiltApp): Promise<Builder> {
    const repo = await atelier.clone(await atelier.createApp())
    await repo.commit({ ...app.files, ...app.saying('first') })
    await repo.push()
    return new Builder(app, repo)
  }

  private constructor(app: BuiltApp, repo: Repo) {
    this.#app = app
    this.#repo = repo
  }

  begin(): void {
    this.#isWanted = true
    this.#running = this.#work()
  }

  /** When the build under way has ended. */
  async end(): Promise<void> {
    this.#isWanted = false
    await this.#running
  }

  async #work(): Promise<void> {
    while (this.#isWanted) {
      await this.#repo.commit(this.#app.saying(`build ${++this.count}`))
      await this.#repo.push(atOnce)
    }
  }
}
