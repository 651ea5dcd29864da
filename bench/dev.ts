import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Dev } from '../test/support/dev.ts'
import { ask } from '../test/support/http.ts'
import { checkout } from '../test/support/platform.ts'
import { type Row, repeat } from './measure.ts'

const runs = 7
const betweenMs = 500
const example = join(checkout, 'examples/hono')

const saying = (text: string) =>
  `import { Hono } from 'hono'\nexport default new Hono().get('/', (context) => context.text('${text}'))\n`

/** Save → first answer of what was saved, under `atelier dev` and, by turns, of the same app under `node --watch`, which builds and proves nothing. */
export async function measureDev(): Promise<Row[]> {
  const files = Object.fromEntries(
    await Promise.all(
      ['package.json', 'package-lock.json'].map(async (name) => [name, await readFile(join(example, name), 'utf8')]),
    ),
  )
  await using dev = await Dev.start({ ...files, 'src/index.ts': saying('first') })
  await using watched = await Watched.start()
  await untilSaid(() => dev.body(), 'first')
  const [ours, theirs]: [number[], number[]] = [[], []]
  await repeat(runs, async (index) => {
    const text = `save ${index}`
    ours.push(
      await untilSaid(
        () => dev.body(),
        text,
        () => dev.write({ 'src/index.ts': saying(text) }),
      ),
    )
    await pause(betweenMs)
    theirs.push(
      await untilSaid(
        () => watched.body(),
        text,
        () => watched.save(saying(text)),
      ),
    )
    await pause(betweenMs)
  })
  await using site = await Dev.start({ 'index.html': 'first' })
  await untilSaid(() => site.body(), 'first')
  const pages = await repeat(runs, async (index) => {
    await pause(betweenMs)
    return untilSaid(
      () => site.body(),
      `save ${index}`,
      () => site.write({ 'index.html': `save ${index}` }),
    )
  })
  return [
    {
      what: 'save → first answer, hono, atelier dev',
      values: ours,
      unit: 's',
      target: '< 1 s',
      rival: { what: 'node --watch', values: theirs },
    },
    { what: 'save → first answer, static, atelier dev', values: pages, unit: 's', target: '< 1 s' },
  ]
}

/** The Hono app by itself, started anew by Node when a file of it changes. */
class Watched implements AsyncDisposable {
  readonly #folder: string
  readonly #child: ChildProcess
  readonly #port = 20_000 + (process.pid % 20_000)

  static async start(): Promise<Watched> {
    const folder = await mkdtemp(join(tmpdir(), 'watched-'))
    await cp(example, folder, { recursive: true })
    await symlink(join(checkout, 'node_modules'), join(folder, 'node_modules'))
    await writeFile(
      join(folder, 'serve.js'),
      "import { serve } from '@hono/node-server'\nimport app from './src/index.ts'\nserve({ fetch: app.fetch, port: Number(process.env.PORT) })\n",
    )
    return new Watched(folder)
  }

  private constructor(folder: string) {
    this.#folder = folder
    const env = { ...process.env, PORT: String(this.#port) }
    this.#child = spawn(process.execPath, ['--watch', '--watch-preserve-output', 'serve.js'], {
      cwd: folder,
      env,
      stdio: 'ignore',
    })
  }

  async body(): Promise<string> {
    return (await ask(this.#port, 'localhost', '/')).body
  }

  save(text: string): Promise<void> {
    return writeFile(join(this.#folder, 'src/index.ts'), text)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM')
    await once(this.#child, 'exit')
    await rm(this.#folder, { recursive: true, force: true })
  }
}

// Seconds from the end of the save.
async function untilSaid(body: () => Promise<string>, text: string, save?: () => Promise<void>): Promise<number> {
  await save?.()
  const startedAt = performance.now()
  // A server that is started again is not there for a moment.
  for (;;) {
    if ((await body().catch(() => '')) === text) return (performance.now() - startedAt) / 1000
    if (performance.now() - startedAt > 120_000) throw new Error(`${text} did not come`)
    await pause(5)
  }
}
