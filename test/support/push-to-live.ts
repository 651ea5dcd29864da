import { expect } from 'vitest'
import type { Atelier } from './atelier.ts'
import { example } from './example.ts'

type PlatformTest = (name: string, body: (given: { atelier: Atelier }) => Promise<void>) => void

const step = (name: string, detail: string) => expect.stringMatching(new RegExp(`^-----> ${name} +${detail}`))

/** The path from a push to a page, for any platform that `test` starts: one suite for every set of services and every topology. */
export function describePushToLive(test: PlatformTest): void {
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
      expect(pushed.remote).toContainEqual(step(name, detail))
    }
    expect(await atelier.get('hello', '/')).toMatchObject({
      status: 200,
      headers: { 'x-atelier-deployment': first },
    })

    const second = await repo.commit({ 'src/index.ts': honoSaying('second') }, 'second')
    const again = await repo.push()
    expect(again.remote).toContainEqual(expect.stringMatching(/npm ci \(cache hit\)/))
    expect(again.remote.slice(-2)).toEqual([
      expect.stringMatching(/ s in all, last time \d+\.\d s$/),
      `       back: atelier rollback ${first.slice(0, 7)}`,
    ])
    expect((await atelier.get('hello', '/')).body).toBe('second')

    await repo.commit({ 'src/index.ts': honoSaying('preview') }, 'preview')
    await repo.push('HEAD:pr/42')
    expect((await atelier.get('hello-pr-42', '/')).body).toBe('preview')
    expect((await atelier.get('hello-pr-42', '/')).headers['x-robots-tag']).toContain('noindex')
    expect((await atelier.get('hello', '/')).body).toBe('second')

    await repo.commit({ 'src/index.ts': 'export default {' }, 'broken')
    await expect(repo.push()).rejects.toMatchObject({
      result: { code: 1, stderr: expect.stringMatching(/! \[remote rejected\] main -> main \(.*build failed.*\)/) },
    })
    expect((await atelier.get('hello', '/')).body).toBe('second')

    const rolledBack = await atelier.cli(['rollback'], { cwd: directory })
    expect(rolledBack).toMatchObject({ code: 0, stdout: expect.stringContaining(first.slice(0, 7)) })
    expect((await atelier.get('hello', '/')).headers['x-atelier-deployment']).toBe(first)
    expect(await atelier.cli(['rollback', second.slice(0, 7)], { cwd: directory })).toMatchObject({ code: 0 })
    expect((await atelier.get('hello', '/')).body).toBe('second')

    await repo.push('--delete', 'pr/42')
    expect((await atelier.get('hello-pr-42', '/')).status).toBe(404)
  })

  test('plain git, with no command of ours: a remote with the token, and a push that creates the app', async ({
    atelier,
  }) => {
    const repo = atelier.repoIn(await atelier.directory({ 'index.html': '<p>plain git</p>' }))
    await repo.git('init', '--quiet')
    await repo.git('remote', 'add', 'atelier', await atelier.gitUrl('plain'))
    await repo.commit({})
    await repo.push()
    expect(await atelier.get('plain', '/')).toMatchObject({ status: 200, body: '<p>plain git</p>' })
  })
}

function honoSaying(text: string): string {
  return `import { Hono } from 'hono'\n\nconst app = new Hono()\napp.get('/', (context) => context.text('${text}'))\n\nexport default app\n`
}
