import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { openBrowser, openPage } from './support/browser.ts'
import { example } from './support/example.ts'

test('a pushed Vite app works in a browser: client-side links, and a reload on a client-side route', async ({
  atelier,
}) => {
  const repo = await atelier.clone(await atelier.createApp('spa'))
  await repo.commit(await example('vite-react'))
  await repo.push()

  await using browser = await openBrowser()
  const origin = `http://spa.apps.localhost:${atelier.port}`
  const { page, problems } = await openPage(browser, origin)
  await page.getByRole('heading', { name: 'Vite and React' }).waitFor()
  expect(await page.evaluate('document.styleSheets.length')).toBe(1)

  await page.getByRole('link', { name: 'About' }).click()
  await page.getByRole('heading', { name: 'About' }).waitFor()
  expect(page.url()).toBe(`${origin}/about`)
  const reloaded = await page.reload()
  expect(reloaded?.status()).toBe(200)
  await page.getByRole('heading', { name: 'About' }).waitFor()
  await page.goBack()
  await page.getByRole('heading', { name: 'Vite and React' }).waitFor()
  expect(problems).toEqual([])

  // The same eyes do see what is missing.
  await page.evaluate(() => fetch('/assets/none-12345678.js'))
  expect(problems).toContain(`${origin}/assets/none-12345678.js: 404`)
})

test('a page that was open before a push goes on to load its parts, and so it does after a rollback', async ({
  atelier,
}) => {
  const app = await atelier.createApp('open-page')
  const repo = await atelier.clone(app)
  // As bundlers write it: the page's script is named by its content, and so is what it imports when it is needed.
  const version = (word: string, hash: string) => ({
    'index.html': `<link rel="icon" href="data:,"><h1>${word}</h1><button>more</button><p></p><script type="module" src="/assets/main-${hash}.js"></script>`,
    [`assets/main-${hash}.js`]: `document.querySelector('button').onclick = async () => {
      const { text } = await import('./more-${hash}.js')
      document.querySelector('p').textContent = text
    }`,
    [`assets/more-${hash}.js`]: `export const text = 'more of ${word}'`,
  })
  await repo.commit(version('one', 'Ab1Cd2Ef'))
  await repo.push()
  await using browser = await openBrowser()
  const origin = `http://open-page.apps.localhost:${atelier.port}`
  const first = await openPage(browser, origin)

  await repo.commit({ ...version('two', 'Gh3Ij4Kl'), 'assets/main-Ab1Cd2Ef.js': null, 'assets/more-Ab1Cd2Ef.js': null })
  await repo.push()
  const second = await openPage(browser, origin)
  await second.page.getByRole('heading', { name: 'two' }).waitFor()
  await first.page.getByRole('button').click()
  await first.page.getByText('more of one').waitFor()

  await atelier.cli(['rollback', '--app', 'open-page'])
  await expect.poll(async () => (await atelier.get(app, '/')).body).toContain('one')
  await second.page.getByRole('button').click()
  await second.page.getByText('more of two').waitFor()
  expect([...first.problems, ...second.problems]).toEqual([])
})
