import { expect } from 'vitest'
import type { AnyPlatform, Atelier } from './atelier.ts'
import { example } from './example.ts'
import { atOnce } from './repo.ts'
import { stepIn } from './steps.ts'

type PlatformTest<P extends AnyPlatform> = (
  name: string,
  body: (given: { atelier: Atelier<P> }) => Promise<void>,
) => void

// Invariant 3: all edges agree within two seconds. Seldom asked: much of it would be traffic, which the next push would be shared out by.
const agreeing = { timeout: 2_000, interval: 250 }

const step = (name: string, detail: string) => expect.stringMatching(new RegExp(`^-----> ${name} +${detail}`))

/** The path from a push to a page, for any platform that `test` starts: one suite for every set of services and every topology. */
export function describePushToLive<P extends AnyPlatform>(test: PlatformTest<P>): void {
  test('the first five minutes: link, push, see it live, preview, push a bad one, roll back', async ({ atelier }) => {
    const directory = await atelier.directory(await example('hono'))
    const repo = atelier.repoIn(directory)
    await repo.git('init', '--quiet')
    const link = await atelier.cli(['link', 'hello'], { cwd: directory })
    expect(link).toMatchObject({ code: 0 })

    const first = await repo.commit({}, 'first')
    const pushed = await repo.push()
    expect(pushed.remote).toEqual([
      `-----> hello ${first.slice(0, 7)} · Hono detected (hono in package.json, src/index.ts)`,
      ...pushed.remote.slice(1, -1),
      expect.stringMatching(/^-----> Live +http:\/\/hello\.apps\.localhost:\d+ +\d+\.\d s in all$/),
    ])
    for (const [name, detail] of [
      ['Installing', 'npm ci'],
      ['Bundling', 'src/index.ts → bundle'],
      ['Verifying', 'GET / → 200'],
      ['Uploading', ''],
    ] as const) {
      expect(stepIn(pushed.remote, name)).toEqual(step(name, detail))
    }
    const versions = () => versionsOf(atelier, 'hello')
    await expect.poll(versions, agreeing).toEqual(atelier.platform.ports.map(() => first))

    const second = await repo.commit({ 'src/index.ts': honoSaying('second') }, 'second')
    const again = await repo.push()
    // Of several workers each keeps its own dependencies.
    if (atelier.platform.workers === 1)
      expect(again.remote).toContainEqual(expect.stringMatching(/npm ci \(cache hit\)/))
    expect(again.remote.slice(-2)).toEqual([
      expect.stringMatching(/ s in all, last time \d+\.\d s$/),
      `       back: atelier rollback ${first.slice(0, 7)}`,
    ])
    await expectEverywhere(atelier, 'hello', 'second')

    await repo.commit({ 'src/index.ts': honoSaying('preview') }, 'preview')
    await repo.push('HEAD:pr/42')
    await expectEverywhere(atelier, 'hello-pr-42', 'preview')
    expect((await atelier.get('hello-pr-42', '/')).headers['x-robots-tag']).toContain('noindex')
    await expectEverywhere(atelier, 'hello', 'second')

    await repo.commit({ 'src/index.ts': 'export default {' }, 'broken')
    await expect(repo.push()).rejects.toMatchObject({
      result: { code: 1, stderr: expect.stringMatching(/! \[remote rejected\] main -> main \(.*build failed.*\)/) },
    })
    await expectEverywhere(atelier, 'hello', 'second')

    const rolledBack = await atelier.cli(['rollback'], { cwd: directory })
    expect(rolledBack).toMatchObject({ code: 0, stdout: expect.stringContaining(first.slice(0, 7)) })
    await expect.poll(versions, agreeing).toEqual(atelier.platform.ports.map(() => first))
    expect(await atelier.cli(['rollback', second.slice(0, 7)], { cwd: directory })).toMatchObject({ code: 0 })
    await expectEverywhere(atelier, 'hello', 'second')

    await repo.push('--delete', 'pr/42')
    for (const port of atelier.platform.ports)
      await expect.poll(async () => (await atelier.getFrom(port, 'hello-pr-42', '/')).status, agreeing).toBe(404)
  })

  test('a page that is open finds its chunks after the next push, and files get smaller behind the scenes, at every proxy', async ({
    atelier,
  }) => {
    const app = await atelier.createApp('chunks')
    const repo = await atelier.clone(app)
    const chunk = Array.from({ length: 4000 }, (_, n) => `// line ${(n * 31) % 977} of ${(n * n * 31) % 613}\n`).join(
      '',
    )
    await repo.commit({ 'index.html': 'one', 'assets/page-AAAA1111.js': chunk })
    await repo.push()
    await expectEverywhere(atelier, 'chunks', 'one')
    const sizes = async () => {
      const headers = { 'accept-encoding': 'br' }
      const asked = atelier.platform.ports.map((port) =>
        atelier.getFrom(port, app, '/assets/page-AAAA1111.js', { method: 'HEAD', headers }),
      )
      return (await Promise.all(asked)).map((answer) => Number(answer.headers['content-length']))
    }
    const [first = 0] = await sizes()
    await expect.poll(async () => (await sizes()).every((size) => size < first)).toBe(true)

    await repo.commit({ 'index.html': 'two', 'assets/page-AAAA1111.js': null, 'assets/page-BBBB2222.js': 'chunk two' })
    await repo.push(atOnce)
    await expectEverywhere(atelier, 'chunks', 'two')
    for (const port of atelier.platform.ports) {
      expect(await atelier.getFrom(port, app, '/assets/page-AAAA1111.js')).toMatchObject({ status: 200, body: chunk })
      expect(await atelier.getFrom(port, app, '/assets/page-CCCC3333.js')).toMatchObject({ status: 404 })
    }
  })

  test('plain git, with no command of ours: a remote with the token, and a push that creates the app', async ({
    atelier,
  }) => {
    const repo = atelier.repoIn(await atelier.directory({ 'index.html': '<p>plain git</p>' }))
    await repo.git('init', '--quiet')
    await repo.git('remote', 'add', 'atelier', await atelier.gitUrl('plain'))
    await repo.commit({})
    await repo.push()
    await expectEverywhere(atelier, 'plain', '<p>plain git</p>')
  })
}

// With one edge at once: a push that succeeded has begun to take traffic.
async function expectEverywhere<P extends AnyPlatform>(atelier: Atelier<P>, label: string, body: string) {
  const [, ...others] = atelier.platform.ports
  if (others.length === 0) expect((await atelier.get(label, '/')).body).toBe(body)
  for (const port of atelier.platform.ports)
    await expect.poll(async () => (await atelier.getFrom(port, label, '/')).body, agreeing).toBe(body)
}

function versionsOf<P extends AnyPlatform>(atelier: Atelier<P>, label: string) {
  const versionAt = async (port: number) => (await atelier.getFrom(port, label, '/')).headers['x-atelier-deployment']
  return Promise.all(atelier.platform.ports.map(versionAt))
}

function honoSaying(text: string): string {
  return `import { Hono } from 'hono'\n\nconst app = new Hono()\napp.get('/', (context) => context.text('${text}'))\n\nexport default app\n`
}
