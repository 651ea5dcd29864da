import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { test } from './atelier.ts'
import { openBrowser, openPage } from './browser.ts'
import { atOnce } from './repo.ts'
import { address, expectAssets, generate, json, write } from './scaffold.ts'

/** Apps as their generators and documentation make them on the day of the test, of those that build in seconds: pushed as they are and used. */
export function testQuickScaffolds(): void {
  let browser: Browser & AsyncDisposable
  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(() => browser?.close())

  test('what create-vue makes has its pages, also when one is asked for directly', async ({ atelier }) => {
    const repo = await generate(atelier, 'my-vue', ['create-vue@latest', 'my-vue', '--ts', '--router'])
    const { remote } = await repo.push()
    expect(remote).toContainEqual(expect.stringMatching(/ · Vite \+ Vue detected/))
    const { page, problems } = await openPage(browser, address(atelier, 'my-vue', '/about'))
    await page.getByRole('heading', { name: 'This is an about page' }).waitFor()
    await page.getByRole('link', { name: 'Home' }).click()
    await page.getByRole('heading', { name: 'Documentation' }).waitFor()
    await expectAssets(atelier, 'my-vue', page, /^\/assets\//)
    expect(problems).toEqual([])
    expect(await atelier.get('my-vue', '/assets/none-12345678.js')).toMatchObject({ status: 404 })
  })

  test('an Eleventy site as its documentation begins it', async ({ atelier }) => {
    const repo = await write(atelier, 'my-eleventy', {
      'package.json': json({
        ...{ name: 'my-eleventy', version: '1.0.0', type: 'module', main: 'index.js' },
        scripts: { test: 'echo "Error: no test specified" && exit 1' },
        devDependencies: { '@11ty/eleventy': '^3.1.2' },
      }),
      'index.html': '<!doctype html><title>Page title</title><p>Hi</p>\n',
      'README.md': '# Page header\n',
      'posts/one.md': '---\npermalink: /one/\n---\n# One\n',
    })
    const { remote } = await repo.push()
    expect(remote).toContainEqual(expect.stringMatching(/ · Eleventy detected/))
    expect((await atelier.get('my-eleventy', '/')).body).toContain('<p>Hi</p>')
    expect((await atelier.get('my-eleventy', '/README/')).body).toContain('<h1>Page header</h1>')
    expect((await atelier.get('my-eleventy', '/one/')).body).toContain('<h1>One</h1>')
    expect(await atelier.get('my-eleventy', '/posts/one.md')).toMatchObject({ status: 404 })
  })

  test('two apps of one pnpm workspace, each with the package they share', async ({ atelier }) => {
    const files = {
      'package.json': json({ name: 'both', private: true, packageManager: 'pnpm@10.14.0' }),
      'pnpm-workspace.yaml': 'packages:\n  - apps/*\n  - packages/*\n',
      // The config is asked which of the two it is.
      'atelier.config.ts': "export default { build: { root: 'apps/' + process.env.ATELIER_APP } }\n",
      'packages/words/package.json': json({
        name: '@both/words',
        version: '1.0.0',
        type: 'module',
        exports: './index.js',
      }),
      'packages/words/index.js': "export const word = 'shared'\n",
      'apps/site/package.json': json({
        ...{ name: 'site', private: true, type: 'module', scripts: { build: 'vite build' } },
        dependencies: { '@both/words': 'workspace:*' },
        devDependencies: { vite: '^7.0.0' },
      }),
      'apps/site/index.html':
        '<!doctype html><link rel="icon" href="data:,"><div id="app"></div><script type="module" src="/main.js"></script>\n',
      'apps/site/main.js': "import { word } from '@both/words'\ndocument.querySelector('#app').textContent = word\n",
      'apps/service/package.json': json({
        ...{ name: 'service', private: true, type: 'module', scripts: { start: 'node server.js' } },
        dependencies: { '@both/words': 'workspace:*', express: '^5.1.0' },
      }),
      'apps/service/server.js': `import { word } from '@both/words'
      import express from 'express'
      express().get('/', (request, response) => response.send(word)).listen(process.env.PORT)\n`,
    }
    const site = await write(atelier, 'site', files)
    await atelier.run('npx', ['--yes', 'pnpm@10.14.0', 'install', '--lockfile-only'], { cwd: site.directory })
    await site.commit({}, 'lock the dependencies')
    await site.push()
    const { page, problems } = await openPage(browser, address(atelier, 'site', '/'))
    await page.getByText('shared').waitFor()
    expect(problems).toEqual([])

    expect(await atelier.cli(['link', 'service'], { cwd: site.directory })).toMatchObject({ code: 0 })
    await site.push()
    expect(await atelier.get('service', '/')).toMatchObject({ status: 200, body: 'shared' })

    // What belongs to one of them alone is no build of the other.
    await site.commit({ 'apps/site/index.html': `${files['apps/site/index.html']}<p>new</p>` })
    const { remote } = await site.push(atOnce)
    expect(remote.join('\n')).toContain('nothing that apps/service uses has changed since')
    expect(await atelier.get('service', '/')).toMatchObject({ status: 200, body: 'shared' })
  })
}
