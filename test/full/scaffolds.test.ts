import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Atelier, test } from '../support/atelier.ts'
import { openBrowser, openPage } from '../support/browser.ts'
import type { Repo } from '../support/repo.ts'
import { link } from '../support/scaffold.ts'

// Apps that nobody here wrote: what the generators of today make, pushed as it is.

const noLockfile = expect.stringMatching(/^ {7}no lockfile: .*run npm install and commit its lockfile$/)
const live = expect.stringMatching(/^-----> Live +http:\/\/\S+ +\d+\.\d s in all/)
const cacheHit = (command: string) => expect.stringMatching(new RegExp(`${command} \\(cache hit\\)`))

test.for([
  ['vue-ts', 'Vite \\+ Vue'],
  ['svelte', 'Vite \\+ Svelte'],
  ['vanilla', 'Vite'],
] as const)('what create-vite makes from its template %s is served as it is', async ([template, kind], { atelier }) => {
  const { name, repo } = await createVite(atelier, template)
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(new RegExp(`^-----> ${name} [0-9a-f]{7} · ${kind} detected`)))
  expect(remote).toContainEqual(noLockfile)
  expect(remote).toContainEqual(live)
  await expectSite(atelier, name, repo)

  await repo.commit({ 'public/new.txt': 'new' })
  expect((await repo.push()).remote).toContainEqual(cacheHit('npm install'))
  expect(await atelier.get(name, '/new.txt')).toMatchObject({ status: 200, body: 'new' })
})

test('create-vite react-ts works in a browser: its counter counts', async ({ atelier }) => {
  const { name, repo } = await createVite(atelier, 'react-ts')
  await repo.push()
  await expectSite(atelier, name, repo)

  await using browser = await openBrowser()
  const { page, problems } = await openPage(browser, `http://${name}.apps.localhost:${atelier.port}/some/page`)
  const counter = page.getByRole('button', { name: /count is/i })
  await counter.waitFor()
  expect(await counter.textContent()).toMatch(/count is 0/i)
  await counter.click()
  await expect.poll(() => counter.textContent()).toMatch(/count is 1/i)
  const picture = join(await mkdtemp(join(tmpdir(), 'atelier-scaffold-')), 'react-ts.png')
  await page.screenshot({ path: picture, fullPage: true })
  process.stdout.write(`what the browser showed: ${picture}\n`)
  expect(problems).toEqual([])
})

test('with a lockfile the install is exact, and an unchanged one installs nothing', async ({ atelier }) => {
  const { name, repo } = await createVite(atelier, 'vanilla', 'locked')
  await atelier.run('npm', ['install', '--package-lock-only'], { cwd: repo.directory })
  await repo.commit({}, 'lock the dependencies')
  const { remote } = await repo.push()
  expect(remote).not.toContainEqual(noLockfile)
  expect(remote).toContainEqual(expect.stringMatching(/^-----> Installing +npm ci$/))
  await expectSite(atelier, name, repo)

  await repo.commit({ 'public/new.txt': 'new' })
  expect((await repo.push()).remote).toContainEqual(cacheHit('npm ci'))
  expect(await atelier.get(name, '/new.txt')).toMatchObject({ status: 200, body: 'new' })
})

test('what express-generator makes is run as it is', async ({ atelier }) => {
  const name = 'my-express'
  const desk = await atelier.directory()
  await atelier.run('npx', ['--yes', 'express-generator', name], { cwd: desk })
  const repo = await link(atelier, name, join(desk, name))
  const { remote } = await repo.push()
  expect(remote).toContainEqual(
    expect.stringMatching(/ · Express detected \(express in package\.json, start script: node \.\/bin\/www\)$/),
  )
  expect(remote).toContainEqual(live)

  const html = expect.stringMatching(/^text\/html/)
  const home = await atelier.get(name, '/')
  expect(home).toMatchObject({ status: 200, headers: { 'content-type': html, 'x-powered-by': 'Express' } })
  expect(home.body).toContain('<p>Welcome to Express</p>')
  expect(await atelier.get(name, '/users')).toMatchObject({ status: 200, body: 'respond with a resource' })
  expect(await atelier.get(name, '/stylesheets/style.css')).toMatchObject({
    status: 200,
    headers: { 'content-type': expect.stringMatching(/^text\/css/) },
    body: await readFile(join(repo.directory, 'public/stylesheets/style.css'), 'utf8'),
  })
  const unknown = await atelier.get(name, '/no/such/page', { headers: { accept: 'text/html' } })
  expect(unknown).toMatchObject({ status: 404, headers: { 'content-type': html, 'x-powered-by': 'Express' } })
  expect(unknown.body).toContain('<h1>Not Found</h1>')
  // It is in production: Express shows no stack.
  expect(unknown.body).not.toContain('NotFoundError')

  await atelier.run('npm', ['install', '--package-lock-only'], { cwd: repo.directory })
  await repo.commit({}, 'lock the dependencies')
  expect((await repo.push()).remote).not.toContainEqual(noLockfile)
  const routes = await readFile(join(repo.directory, 'routes/users.js'), 'utf8')
  await repo.commit({ 'routes/users.js': routes.replace('a resource', 'another resource') })
  expect((await repo.push()).remote).toContainEqual(cacheHit('npm ci --omit=dev'))
  expect((await atelier.get(name, '/users')).body).toBe('respond with another resource')
})

async function createVite(atelier: Atelier, template: string, name = `my-${template}`) {
  const desk = await atelier.directory()
  const args = ['create', '--yes', 'vite@latest', name, '--', '--template', template, '--no-interactive']
  await atelier.run('npm', args, { cwd: desk })
  return { name, repo: await link(atelier, name, join(desk, name)) }
}

/** The page with what it refers to, a client-side route, and a missing file. */
async function expectSite(atelier: Atelier, name: string, { directory }: Repo): Promise<void> {
  const accept = 'text/html,application/xhtml+xml,*/*;q=0.8'
  const page = await atelier.get(name, '/', { headers: { accept } })
  expect(page).toMatchObject({ status: 200, headers: { 'content-type': expect.stringMatching(/^text\/html/) } })
  expect(page.headers['cache-control']).not.toContain('immutable')
  const source = await readFile(join(directory, 'index.html'), 'utf8')
  expect(titleOf(page.body)).toBe(titleOf(source))

  for (const [pattern, type] of [
    [/<script[^>]* src="([^"]+)"/g, 'text/javascript'],
    [/<link[^>]* rel="stylesheet"[^>]* href="([^"]+)"/g, 'text/css'],
  ] as const) {
    const paths = [...page.body.matchAll(pattern)].map(([, path = '']) => path)
    expect(paths).not.toEqual([])
    for (const path of paths) {
      expect(await atelier.get(name, path), path).toMatchObject({
        status: 200,
        headers: {
          'content-type': expect.stringContaining(type),
          'cache-control': expect.stringMatching(/max-age=31536000, immutable/),
        },
      })
    }
  }

  expect(await atelier.get(name, '/some/page', { headers: { accept } })).toMatchObject({ status: 200, body: page.body })
  expect(await atelier.get(name, '/assets/none-12345678.js')).toMatchObject({ status: 404 })
}

function titleOf(html: string): string {
  return /<title>(.+)<\/title>/.exec(html)?.[1] ?? 'no title'
}
