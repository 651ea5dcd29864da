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
