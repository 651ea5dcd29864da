import { type Browser, chromium, type Page } from 'playwright-core'
import { run } from './command.ts'
import { findProgram } from './machine.ts'

/** A real Chromium without a window. `*.localhost` is this machine to it. Throws a sentence when there is none. */
export async function openBrowser(): Promise<Browser & AsyncDisposable> {
  return chromium.launch({
    executablePath: await requireChromium(),
    // Its sandbox does not start as root; the pages it opens here are our own.
    chromiumSandbox: process.getuid?.() !== 0,
    // Nothing but the pages under test is asked for.
    args: ['--disable-dev-shm-usage', '--disable-gpu', '--disable-quic', '--disable-sync'],
  })
}

/** A page, and everything its visitor would find wrong with it: errors in the console, requests that failed or were refused. */
export async function openPage(browser: Browser, url: string): Promise<{ page: Page; problems: string[] }> {
  const page = await (await browser.newContext()).newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  page.on('requestfailed', (request) => problems.push(`${request.url()}: ${request.failure()?.errorText}`))
  page.on(
    'response',
    (response) => response.status() >= 400 && problems.push(`${response.url()}: ${response.status()}`),
  )
  await page.goto(url)
  return { page, problems }
}

/** Where Chromium is; root on Debian gets it installed, once. */
export async function requireChromium(): Promise<string> {
  const there = await findChromium()
  if (there) return there

  if (process.getuid?.() === 0 && (await findProgram('apt-get'))) {
    process.stderr.write('installing chromium for the browser tests, once\n')
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    await run('apt-get', ['update', '-q'], { env })
    await run('apt-get', ['install', '-qy', '--no-install-recommends', 'chromium'], { env })
  }
  const installed = await findChromium()
  if (!installed)
    throw new Error('the browser tests need Chromium and there is none; install it (Debian: apt-get install chromium)')
  return installed
}

function findChromium(): Promise<string | null> {
  return findProgram('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
}
