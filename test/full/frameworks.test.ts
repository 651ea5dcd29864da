import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { test } from '../support/atelier.ts'
import { openBrowser, openPage } from '../support/browser.ts'
import { testQuickScaffolds } from '../support/quick-scaffolds.ts'
import { atOnce } from '../support/repo.ts'
import { address, expectAssets, generate, immutable, json, write } from '../support/scaffold.ts'

// What the frameworks' own generators make on the day of the test, pushed as it is.
let browser: Browser & AsyncDisposable
beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser?.close())

testQuickScaffolds()

test('what fastify-cli generate makes answers', async ({ atelier }) => {
  const repo = await generate(atelier, 'my-fastify', ['fastify-cli@latest', 'generate', 'my-fastify'])
  const { remote } = await repo.push()
  expect(remote).toContainEqual(
    expect.stringMatching(/ · Fastify detected \(fastify in package\.json, start script: fastify start/),
  )
  expect(await atelier.get('my-fastify', '/')).toMatchObject({ status: 200, body: '{"root":true}' })
  expect(await atelier.get('my-fastify', '/example')).toMatchObject({ status: 200, body: 'this is an example' })
  expect(await atelier.get('my-fastify', '/none')).toMatchObject({ status: 404 })
})

test('what @nestjs/cli new makes answers', async ({ atelier }) => {
  const options = ['--skip-install', '--skip-git', '--package-manager', 'npm']
  const repo = await generate(atelier, 'my-nest', ['@nestjs/cli@latest', 'new', 'my-nest', ...options])
  const { remote } = await repo.push()
  expect(remote).toContainEqual(
    expect.stringMatching(/ · NestJS detected \(@nestjs\/core in package\.json, start script: nest start\)$/),
  )
  expect(await atelier.get('my-nest', '/')).toMatchObject({ status: 200, body: 'Hello World!' })
  const unknown = await atelier.get('my-nest', '/none')
  expect(unknown.status).toBe(404)
  expect(JSON.parse(unknown.body)).toMatchObject({ message: 'Cannot GET /none' })
})

test('what sv create makes with its adapter-auto is served, its forms too', async ({ atelier }) => {
  const options = ['--template', 'demo', '--types', 'ts', '--no-add-ons', '--no-install']
  const repo = await generate(atelier, 'my-svelte', ['sv@latest', 'create', 'my-svelte', ...options])
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · SvelteKit detected \(@sveltejs\/kit in package\.json\)$/))
  expectRoutes(remote, '4 pages, 3 static', '4 of 4')
  const { page, problems } = await openPage(browser, address(atelier, 'my-svelte', '/'))
  await page.getByRole('button', { name: 'Increase the counter by one' }).click()
  await page.getByText('1', { exact: true }).first().waitFor()
  await page.getByRole('link', { name: 'About' }).click()
  await page.getByRole('heading', { name: 'About this app' }).waitFor()
  await page.goto(address(atelier, 'my-svelte', '/sverdle'))
  await page.getByRole('button', { name: 'a', exact: true }).click()
  await expectAssets(atelier, 'my-svelte', page, /^\/_app\/immutable\//)
  expect(problems).toEqual([])
  expect(await atelier.get('my-svelte', '/robots.txt')).toMatchObject({ status: 200 })
  expect(await atelier.get('my-svelte', '/none')).toMatchObject({ status: 404 })

  await repo.commit({ 'static/new.txt': 'new' })
  await repo.push(atOnce)
  expect(await atelier.get('my-svelte', '/new.txt')).toMatchObject({ status: 200, body: 'new' })
})

test('what create-docusaurus makes has its pages, its pictures, and a page for what there is not', async ({
  atelier,
}) => {
  const options = ['classic', '--javascript', '--skip-install']
  const repo = await generate(atelier, 'my-docs', ['create-docusaurus@latest', 'my-docs', ...options])
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · Docusaurus( \+ React)? detected/))
  const { page, problems } = await openPage(browser, address(atelier, 'my-docs', '/'))
  await page.getByRole('link', { name: /Docusaurus Tutorial/ }).click()
  await page.getByRole('heading', { name: 'Tutorial Intro' }).waitFor()
  await expectAssets(atelier, 'my-docs', page, /^\/assets\//)
  expect(problems).toEqual([])
  for (const path of ['/docs/intro', '/blog', '/docs/tutorial-basics/markdown-features']) {
    expect(await atelier.get('my-docs', path), path).toMatchObject({ status: 308, headers: { location: `${path}/` } })
    expect(await atelier.get('my-docs', `${path}/`), path).toMatchObject({ status: 200 })
  }
  const unknown = await atelier.get('my-docs', '/none', { headers: { accept: 'text/html' } })
  expect(unknown).toMatchObject({ status: 404, body: expect.stringContaining('Page Not Found') })
})

// Their generators fetch these files from GitHub.
test('a new Astro app', async ({ atelier }) => {
  const repo = await write(atelier, 'my-astro', {
    'package.json': json({
      ...{ name: 'my-astro', type: 'module', version: '0.0.1' },
      scripts: { dev: 'astro dev', build: 'astro build', preview: 'astro preview', astro: 'astro' },
      dependencies: { astro: 'latest' },
    }),
    'astro.config.mjs': "// @ts-check\nimport { defineConfig } from 'astro/config'\nexport default defineConfig({})\n",
    'tsconfig.json': json({ extends: 'astro/tsconfigs/strict', include: ['.astro/types.d.ts', '**/*'] }),
    'public/favicon.svg': '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>\n',
    'src/pages/index.astro': '---\n---\n<html lang="en"><body><h1>Astro</h1></body></html>\n',
    'src/pages/about.astro': '<html lang="en"><body><h1>About</h1></body></html>\n',
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · Astro detected \(astro in package\.json\)$/))
  expectRoutes(remote, '2 pages, static', null)
  for (const [path, text] of [
    ['/', '<h1>Astro</h1>'],
    ['/about/', '<h1>About</h1>'],
    ['/favicon.svg', '<svg'],
  ] as const)
    expect((await atelier.get('my-astro', path)).body, path).toContain(text)
  expect(await atelier.get('my-astro', '/none')).toMatchObject({ status: 404 })
})

test('a new Nuxt app, with a route of its server', async ({ atelier }) => {
  const repo = await write(atelier, 'my-nuxt', {
    'package.json': json({
      ...{ name: 'my-nuxt', type: 'module', private: true },
      scripts: {
        ...{ build: 'nuxt build', dev: 'nuxt dev', generate: 'nuxt generate' },
        ...{ preview: 'nuxt preview', postinstall: 'nuxt prepare' },
      },
      dependencies: { nuxt: 'latest', vue: 'latest', 'vue-router': 'latest' },
    }),
    'nuxt.config.ts':
      "export default defineNuxtConfig({ compatibilityDate: '2025-07-15', devtools: { enabled: true } })\n",
    'app/app.vue': '<template><div><NuxtRouteAnnouncer /><NuxtPage /></div></template>\n',
    'app/pages/index.vue': '<template><main><h1>Nuxt</h1><NuxtLink to="/about">About</NuxtLink></main></template>\n',
    'app/pages/about.vue':
      "<script setup>const { data } = await useFetch('/api/word')</script><template><h1>About {{ data.word }}</h1></template>\n",
    'server/api/word.ts': "export default defineEventHandler(() => ({ word: 'us' }))\n",
    'public/robots.txt': 'User-Agent: *\nDisallow:\n',
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · Nuxt detected \(nuxt in package\.json\)$/))
  // Its handler has no method in its name.
  expectRoutes(remote, '2 pages, 1 API', '2 of 3')
  expect(await atelier.get('my-nuxt', '/api/word')).toMatchObject({ status: 200, body: '{"word":"us"}' })
  expect((await atelier.get('my-nuxt', '/about')).body).toContain('About us')
  const { page, problems } = await openPage(browser, address(atelier, 'my-nuxt', '/'))
  await page.getByRole('link', { name: 'About' }).click()
  await page.getByRole('heading', { name: 'About us' }).waitFor()
  await expectAssets(atelier, 'my-nuxt', page, /^\/_nuxt\//)
  expect(problems).toEqual([])
})

test('a new React Router app is run by the server it brings, and its loader is asked', async ({ atelier }) => {
  const repo = await write(atelier, 'my-router', {
    'package.json': json({
      ...{ name: 'my-router', private: true, type: 'module' },
      scripts: { build: 'react-router build', start: 'react-router-serve ./build/server/index.js' },
      dependencies: {
        ...{ '@react-router/node': '7.18.4', '@react-router/serve': '7.18.4', 'react-router': '7.18.4' },
        ...{ isbot: '^5', react: '^19', 'react-dom': '^19' },
      },
      devDependencies: { '@react-router/dev': '7.18.4', vite: '^7', typescript: '^5' },
    }),
    'vite.config.ts': `import { reactRouter } from '@react-router/dev/vite'
      import { defineConfig } from 'vite'
      export default defineConfig({ plugins: [reactRouter()] })\n`,
    'react-router.config.ts': 'export default { ssr: true }\n',
    'app/root.tsx': `import { Outlet, Scripts } from 'react-router'
      export default function App() { return <html lang="en"><body><Outlet /><Scripts /></body></html> }\n`,
    'app/routes.ts': `import { index, route } from '@react-router/dev/routes'
      export default [index('routes/home.tsx'), route('about', 'routes/about.tsx')]\n`,
    'app/routes/home.tsx': `import { Link } from 'react-router'
      export default function Home() { return <Link to="/about">About</Link> }\n`,
    'app/routes/about.tsx': `export const loader = () => ({ word: 'us' })
      export default function About({ loaderData }: { loaderData: { word: string } }) { return <h1>About {loaderData.word}</h1> }\n`,
    'public/robots.txt': 'User-Agent: *\n',
    'public/favicon.ico': 'an icon',
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(
    expect.stringMatching(/ · React Router detected \(@react-router\/dev in package\.json\)$/),
  )
  expectRoutes(remote, '2 pages', '2 of 2')
  const { page, problems } = await openPage(browser, address(atelier, 'my-router', '/'))
  await page.getByRole('link', { name: 'About' }).click()
  await page.getByRole('heading', { name: 'About us' }).waitFor()
  // Its modules are named by a script in the page.
  const modules = (await atelier.get('my-router', '/')).body.match(/\/assets\/[\w.-]+\.js/g)
  expect(modules).not.toBeNull()
  for (const path of modules ?? [])
    expect(await atelier.get('my-router', path), path).toMatchObject({ status: 200, headers: immutable })
  expect(problems).toEqual([])
  expect((await atelier.get('my-router', '/robots.txt')).body).toContain('User-Agent')
})

test('a VitePress site as its documentation begins it', async ({ atelier }) => {
  const repo = await write(atelier, 'my-vitepress', {
    'package.json': json({
      ...{ name: 'my-vitepress', private: true, type: 'module' },
      scripts: { 'docs:dev': 'vitepress dev docs', 'docs:build': 'vitepress build docs' },
      devDependencies: { vitepress: '^1.6.0' },
    }),
    'docs/.vitepress/config.mts':
      "export default { title: 'My Docs', head: [['link', { rel: 'icon', href: 'data:,' }]] }\n",
    'docs/index.md': '# First page\n\n[Second](./second.md)\n',
    'docs/second.md': '# Second page\n',
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(
    expect.stringMatching(/ · VitePress detected \(vitepress in package\.json, docs\/\.vitepress\/config\.mts\)$/),
  )
  const { page, problems } = await openPage(browser, address(atelier, 'my-vitepress', '/'))
  await page.getByRole('link', { name: 'Second', exact: true }).click()
  await page.getByRole('heading', { name: 'Second page' }).waitFor()
  await expectAssets(atelier, 'my-vitepress', page, /^\/assets\//)
  expect(problems).toEqual([])
})

test('an Astro app with a server renders when it is asked, beside pages made ahead', async ({ atelier }) => {
  const repo = await write(atelier, 'my-astro-server', {
    'package.json': json({
      ...{
        name: 'my-astro-server',
        private: true,
        type: 'module',
        scripts: { dev: 'astro dev', build: 'astro build' },
      },
      dependencies: { astro: 'latest', '@astrojs/node': 'latest' },
    }),
    'astro.config.mjs': `import node from '@astrojs/node'
      import { defineConfig } from 'astro/config'
      export default defineConfig({ adapter: node({ mode: 'standalone' }) })\n`,
    'src/pages/index.astro': '<html lang="en"><body><h1>Ahead</h1></body></html>\n',
    'src/pages/asked.astro': `---\nexport const prerender = false\nconst name = Astro.url.searchParams.get('name')\n---
      <html lang="en"><body><h1>Asked by {name}</h1></body></html>\n`,
    'src/pages/api/word.js': "export const prerender = false\nexport const GET = () => Response.json({ word: 'us' })\n",
    'public/robots.txt': 'User-agent: *\n',
  })
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · Astro detected \(astro in package\.json\)$/))
  expect((await atelier.get('my-astro-server', '/')).body).toContain('Ahead')
  expect((await atelier.get('my-astro-server', '/asked?name=me')).body).toContain('Asked by me')
  expect(await atelier.get('my-astro-server', '/api/word')).toMatchObject({ status: 200, body: '{"word":"us"}' })
  expect((await atelier.get('my-astro-server', '/robots.txt')).body).toContain('User-agent')
  expect(await atelier.get('my-astro-server', '/none')).toMatchObject({ status: 404 })
})

test('what ng new makes has its page, wherever one comes in', async ({ atelier }) => {
  const options = ['--defaults', '--skip-install', '--skip-git']
  const repo = await generate(atelier, 'my-angular', ['@angular/cli@latest', 'new', 'my-angular', ...options])
  const { remote } = await repo.push()
  expect(remote).toContainEqual(expect.stringMatching(/ · Angular detected \(@angular\/core in package\.json\)$/))
  const { page, problems } = await openPage(browser, address(atelier, 'my-angular', '/'))
  await page.getByRole('heading', { name: 'Hello, my-angular' }).waitFor()
  expect(problems).toEqual([])
})

function expectRoutes(remote: string[], found: string, asked: string | null): void {
  expect(remote).toContainEqual(expect.stringMatching(new RegExp(`^-----> Routes {6}${found} +\\d+\\.\\d s$`)))
  if (asked) expect(remote.join('\n')).toContain(`GET / → 200, ${asked} routes below 500`)
}
