import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { type Atelier, test } from '../support/atelier.ts'
import { openBrowser, openPage } from '../support/browser.ts'
import { atOnce, type Repo } from '../support/repo.ts'
import { generate } from '../support/scaffold.ts'

// What create-next-app makes on the day of the test, with the real Next.js; a few minutes on a busy machine.
let browser: Browser & AsyncDisposable
beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser?.close())

const cacheHit = expect.stringMatching(/^-----> Installing +npm \w+ \(cache hit\)/)
const withoutCache = expect.stringContaining('No build cache found')

const script = (code: string) => `${code}\n`
/** Pages of the app router and of the pages router, pictures, a part that is loaded later, a server action, a page that is made ahead. */
const site = (word: string) => ({
  'app/page.tsx': script(`import Image from 'next/image'
    import Link from 'next/link'
    import picture from './picture.png'
    import { More } from './more'
    export default function Home() {
      return <main><h1>${word}</h1><Link href="/about" prefetch={false}>About</Link><Link href="/guests">Guests</Link><More />
        <Image src={picture} alt="imported" /><Image src="/public.png" alt="public" width={32} height={32} /></main>
    }`),
  'app/more.tsx': script(`'use client'
    import { lazy, Suspense, useState } from 'react'
    const Later = lazy(() => import('./later'))
    export function More() {
      const [isOpen, open] = useState(false)
      return isOpen ? <Suspense><Later /></Suspense> : <button onClick={() => open(true)}>more</button>
    }`),
  'app/later.tsx': script(`'use client'
    export default function Later() { return <p>more of ${word}</p> }`),
  'app/about/page.tsx': script(`export default function About() { return <h1>About ${word}</h1> }`),
  'app/guests/page.tsx': script(`import { add, guests } from './guests'
    export default async function Guests() {
      return <form action={add}><h1>Guests</h1><input name="name" /><button>add</button>
        <ul>{(await guests()).map((guest) => <li key={guest}>{guest}</li>)}</ul></form>
    }`),
  'app/guests/guests.ts': script(`'use server'
    import { revalidatePath } from 'next/cache'
    import { redirect } from 'next/navigation'
    const all: { guests?: string[] } = globalThis as never
    export async function guests() { return all.guests ?? [] }
    export async function add(form: FormData) {
      all.guests = [...(all.guests ?? []), String(form.get('name'))]
      revalidatePath('/guests')
      redirect('/guests')
    }`),
  'app/leave/route.ts': script(`import { NextResponse } from 'next/server'
    export const GET = (request: Request) => NextResponse.redirect(new URL('/about', request.url))`),
  'pages/legacy.tsx': script(`export const getServerSideProps = async () => ({ props: { word: '${word}' } })
    export default function Legacy({ word }: { word: string }) { return <h1>Legacy {word}</h1> }`),
})

test('what create-next-app makes is pushed, seen, changed and pushed again, while a page of before is open', async ({
  atelier,
}) => {
  const repo = await scaffold(atelier, 'shop')
  const first = await repo.push(atOnce)
  expect(first.remote).toContainEqual(
    expect.stringMatching(/ · Next\.js detected \(next in package\.json, next\.config\.ts\)$/),
  )
  expect(first.remote).toContainEqual(withoutCache)
  const origin = `http://shop.apps.localhost:${atelier.port}`
  const unchanged = await openPage(browser, origin)
  expect(await unchanged.page.title()).not.toBe('')
  // It has no icon. Chromium says so a second time, without the address, now and then before this is read.
  const isOfIcon = (problem: string) => /\/favicon\.ico|^Failed to load resource/.test(problem)
  expect(unchanged.problems.filter((problem) => !isOfIcon(problem))).toEqual([])

  const picture = await readFile(join(import.meta.dirname, '../fixtures/next/picture.png'))
  await repo.commit({
    ...site('one'),
    'app/picture.png': picture,
    'public/public.png': picture,
    'app/icon.png': picture,
  })
  const second = await repo.push(atOnce)
  expect(second.remote).toContainEqual(cacheHit)
  expect(second.remote).not.toContainEqual(withoutCache)
  expect(second.remote).toContainEqual(expect.stringMatching(/^-----> Routes {6}4 pages, 1 API, \d static +\d/))
  expect(second.remote.join('\n')).toContain('GET / → 200, 5 of 5 routes below 500')

  const open = await openPage(browser, origin)
  const other = await openPage(browser, origin)
  await open.page.getByRole('heading', { name: 'one' }).waitFor()
  for (const name of ['imported', 'public']) await expectPicture(open.page, name)
  await visitOnce(other.page, 'About', 'About one')
  await expectStatic(atelier, open.page)

  await repo.commit(site('two'))
  await repo.push(atOnce)
  await open.page.getByRole('button', { name: 'more' }).click()
  await open.page.getByText('more of one').waitFor()
  await open.page.getByRole('link', { name: 'About' }).click()
  await open.page.getByRole('heading', { name: 'About two' }).waitFor()
  expect([...open.problems, ...other.problems]).toEqual([])

  expect((await atelier.get('shop', '/legacy')).body).toContain('two')
  expect(await atelier.get('shop', '/leave')).toMatchObject({ status: 307, headers: { location: '/about' } })
})

test('a page that is made ahead is kept for a second, and what an action has changed is seen', async ({ atelier }) => {
  const origin = `http://shop.apps.localhost:${atelier.port}`
  const page = () => atelier.get('shop', '/guests')
  await expect.poll(async () => (await page()).headers['x-atelier-cache']).toBe('hit')
  expect((await page()).body).not.toContain('Ada')

  const { page: guests, problems } = await openPage(browser, `${origin}/guests`)
  await guests.getByRole('textbox').fill('Ada')
  await guests.getByRole('button', { name: 'add' }).click()
  await guests.getByText('Ada').waitFor()
  expect(problems).toEqual([])
  await expect.poll(async () => (await page()).body).toContain('Ada')
  const { stdout } = await atelier.cli(['logs', '--app', 'shop'])
  expect(stdout).toContain('Next.js')
  expect(stdout).not.toMatch(/failed to|error/i)
})

test('a page and the payload that the router asks for never stand in for each other', async ({ atelier }) => {
  const { page } = await openPage(browser, `http://shop.apps.localhost:${atelier.port}`)
  const asked = page.waitForRequest((request) => request.url().includes('/about?_rsc='))
  await page.getByRole('link', { name: 'About' }).click()
  const { pathname, search } = new URL((await asked).url())
  const headers = Object.fromEntries(
    Object.entries((await asked).headers()).filter(([name]) => name === 'rsc' || name.startsWith('next-')),
  )
  expect(headers).toHaveProperty('rsc')
  for (let round = 0; round < 20; round++) {
    const [payload, html] = await Promise.all([
      atelier.get('shop', pathname + search, { headers }),
      atelier.get('shop', pathname + search),
    ])
    expect(payload.headers['content-type']).toMatch(/^text\/x-component/)
    expect(html.headers['content-type']).toMatch(/^text\/html/)
  }
})

test('with a proxy.ts, every page is asked of the app', async ({ atelier }) => {
  const repo = await atelier.clone('shop')
  await repo.commit({
    'proxy.ts': script(`import { type NextRequest, NextResponse } from 'next/server'
      export function proxy(request: NextRequest) {
        const isKnown = request.cookies.has('known') || request.nextUrl.pathname === '/about'
        return isKnown ? NextResponse.next() : NextResponse.redirect(new URL('/about', request.url))
      }
      export const config = { matcher: ['/((?!_next).*)'] }`),
  })
  const { remote } = await repo.push(atOnce)
  expect(remote.join('\n')).toContain('public/ is served by the app itself')
  const cookie = 'known=1'
  for (const path of ['/', '/public.png'])
    for (let round = 0; round < 3; round++) {
      expect(await atelier.get('shop', path, { headers: { cookie } })).toMatchObject({ status: 200 })
      expect(await atelier.get('shop', path)).toMatchObject({ status: 307, headers: { location: '/about' } })
    }
})

test('the default template, with Google’s answer for its fonts brought along', async ({ atelier }) => {
  const options = ['--yes', '--skip-install', '--disable-git', '--use-npm']
  const repo = await generate(atelier, 'usual', ['create-next-app@latest', 'usual', ...options])
  const families = ['Geist', 'Geist Mono'].map((family) => [
    `https://fonts.googleapis.com/css2?family=${family.replace(' ', '+')}:wght@100..900&display=swap`,
    `@font-face { font-family: '${family}'; font-style: normal; font-weight: 100 900; src: local('Arial'); }`,
  ])
  await repo.commit({
    'fonts.cjs': `module.exports = ${JSON.stringify(Object.fromEntries(families))}\n`,
    'atelier.config.mjs': script(
      "export default { build: { env: { NEXT_FONT_GOOGLE_MOCKED_RESPONSES: import.meta.dirname + '/fonts.cjs' } } }",
    ),
  })
  await repo.push()
  const { page, problems } = await openPage(browser, `http://usual.apps.localhost:${atelier.port}`)
  await page.getByRole('heading', { name: /To get started, edit the/ }).waitFor()
  const width = () => page.getByAltText('Next.js logo').evaluate((image) => Reflect.get(image, 'naturalWidth'))
  await expect.poll(width).toBeGreaterThan(0)
  expect(problems).toEqual([])
})

test("output: 'export' becomes static pages", async ({ atelier }) => {
  const repo = await scaffold(atelier, 'pages')
  await repo.commit({
    'next.config.ts': "export default { output: 'export' }\n",
    'app/about/page.tsx': script('export default function About() { return <h1>About</h1> }'),
  })
  await repo.push(atOnce)
  expect(await atelier.get('pages', '/about')).toMatchObject({ status: 200, body: expect.stringContaining('<h1>') })
  expect(await atelier.get('pages', '/none')).toMatchObject({ status: 404 })
})

test('Next.js 15', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('fifteen'))
  await repo.commit({
    'package.json': JSON.stringify({
      scripts: { build: 'next build', start: 'next start' },
      dependencies: { next: '15', react: '19', 'react-dom': '19' },
    }),
    'pages/index.js': script(`export const getStaticProps = async () => ({ props: {}, revalidate: 60 })
      export default function Home() { return <h1>fifteen</h1> }`),
  })
  expect((await repo.push(atOnce)).remote).toContainEqual(
    expect.stringMatching(/Next\.js detected \(next in package\.json, pages\)$/),
  )
  expect((await atelier.get('fifteen', '/')).body).toContain('<h1>fifteen</h1>')
})

function scaffold(atelier: Atelier, name: string): Promise<Repo> {
  const options = ['--ts', '--app', '--empty', '--no-src-dir', '--no-tailwind', '--no-linter', '--skip-install']
  return generate(atelier, name, ['create-next-app@latest', name, '--yes', ...options, '--disable-git', '--use-npm'])
}

// By the router, not by a page that is loaded anew.
async function visitOnce(page: Page, link: string, heading: string): Promise<void> {
  await page.evaluate('globalThis.isTheSame = true')
  await page.getByRole('link', { name: link }).click()
  await page.getByRole('heading', { name: heading }).waitFor()
  expect(await page.evaluate('globalThis.isTheSame')).toBe(true)
}

async function expectPicture(page: Page, alt: string): Promise<void> {
  const width = () => page.getByAltText(alt).evaluate((image) => Reflect.get(image, 'naturalWidth'))
  await expect.poll(width).toBeGreaterThan(0)
  expect(await page.getByAltText(alt).getAttribute('src')).toMatch(/^\/_next\/image\?url=/)
}

async function expectStatic(atelier: Atelier, page: Page): Promise<void> {
  const paths = await page.evaluate<string[]>(
    "[...document.scripts].flatMap(({ src }) => src.includes('/_next/static/') ? [new URL(src).pathname] : [])",
  )
  expect(paths).not.toEqual([])
  for (const path of paths) {
    const { headers } = await atelier.get('shop', path)
    expect(headers['cache-control']).toBe('public, max-age=31536000, immutable')
    expect(headers).not.toHaveProperty('x-powered-by')
  }
}
