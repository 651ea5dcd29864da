import { afterAll, beforeAll, expect, test } from 'vitest'
import { appendBuildLog } from '../registry/build-logs.ts'
import { createSignInCode } from '../registry/console-sessions.ts'
import { createDeployment } from '../registry/deployments.ts'
import { renewLease } from '../registry/edges.ts'
import { recordIsolation } from '../registry/isolation.ts'
import { revertRollout } from '../registry/rollout-ends.ts'
import { reportRollout } from '../registry/rollout-reports.ts'
import { ensureAdminToken, newSecret } from '../registry/tokens.ts'
import { openBrowser } from './support/browser.ts'
import { startControlPlane } from './support/control-plane.ts'
import { counted, reportOf } from './support/rollout.ts'

// The console in a real browser, over real HTTP.
const plane = await startControlPlane({ relay: true })
const browser = await openBrowser()
afterAll(async () => {
  await browser.close()
  await plane.close()
})

const origin = `http://console.localhost:${plane.config.httpPort}`
beforeAll(() => ensureAdminToken(plane.sql, newSecret()))

async function open(path: string) {
  const page = await (await browser.newContext()).newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('401')) problems.push(message.text())
  })
  await page.goto(`${origin}${path}`)
  return { page, problems }
}

const link = async () => `/#token=${(await createSignInCode(plane.sql, { tokenId: 'admin' })).code}`

test('a sign-in link leads to the apps, is gone from the address, and lasts over a reload', async () => {
  const app = await plane.app()
  await plane.deployed(app, 'a'.repeat(40))
  const { page, problems } = await open(await link())
  await page.getByRole('row', { name: new RegExp(`${app}\\.apps.* aaaaaaa .*live`) }).waitFor()
  expect(page.url()).toBe(`${origin}/`)
  await page.reload()
  await page.getByText(`${app}.apps.localhost`).waitFor()
  expect(problems).toEqual([])
})

test('what happens shows up by itself, with its log', async () => {
  const app = await plane.app()
  const { page } = await open(await link())
  await page.getByText(`${app}.apps.localhost`).waitFor()
  const { id } = await plane.deployed(app, '1.0.0')
  await appendBuildLog(plane.sql, id, ['-----> Building', '\u001b[32mgreen\u001b[0m'])
  await page
    .getByRole('row', { name: `${app} 1.0.0` })
    .getByRole('button')
    .click()
  await page.getByText('-----> Building').waitFor()
  await appendBuildLog(plane.sql, id, ['one more line'])
  await page.getByText('one more line').waitFor()
  expect(await page.locator('#log').textContent()).not.toContain('\u001b')
})

test('a rollout is shown as it goes on, and with the reasons once it was taken back', async () => {
  const app = await plane.app()
  await plane.deployed(app, '1.0.0')
  const rollout = await plane.rollout(app, '1.0.1')
  await renewLease(plane.sql, 'edge')
  const nasty = '/<img src=x onerror="window.hacked=1">'
  const failingPaths = [{ arm: 'candidate' as const, path: nasty, status: 500, count: 4 }]
  const segments = [
    counted(0, 'candidate', { requests: 68, errorRequests: 4, timedRequests: 2 }, [12, 12]),
    counted(0, 'baseline', { requests: 1290, errorRequests: 1 }),
  ]
  await reportRollout(plane.sql, 'edge', [reportOf(rollout, 1, { segments, failingPaths })])
  const reading = { lnEvidence: Math.log(30), lnBar: Math.log(750), isMaterial: true }
  const verdict = { numbers: { errors: reading, latency: null }, remarks: [] }
  await plane.sql`update rollouts set verdict = ${plane.sql.json(verdict)} where id = ${rollout.id}`
  const { page, problems } = await open(await link())
  const card = page.getByRole('article').filter({ hasText: app })
  await card.getByRole('heading', { name: `${app} 1.0.1 (v2) has 5 % of the traffic, 1.0.0 (v1) the rest` }).waitFor()
  await card.getByRole('row', { name: 'requests 68 1290' }).waitFor()
  await card.getByRole('row', { name: 'errors 4 (5.9 %) 1 (0.078 %)' }).waitFor()
  await card.getByText('evidence 30 of 750').waitFor()
  expect(await card.getByRole('meter').evaluate((meter) => Reflect.get(meter, 'value'))).toBeCloseTo(0.514, 2)

  const sentence = 'errors 4/68 vs 1/1290 (evidence 3058, bar 750)'
  await plane.sql.begin((tx) =>
    revertRollout(tx, rollout, { to: 'failed', by: 'platform', sentence, errorCode: 'ROLLED_BACK' }),
  )
  await card.getByRole('heading', { name: `${app} 1.0.1 (v2) was taken back: ${sentence}` }).waitFor()
  await card.getByText(`4 × 500 ${nasty}`).waitFor()
  await page.getByText(`Automatic deployments of ${app} wait`).waitFor()
  expect(await page.evaluate('window.hacked')).toBeUndefined()
  expect(problems).toEqual([])
})

test('a button that is pressed while the page is brought up to date is clicked when it is let go', async () => {
  const app = await plane.app()
  const { id } = await plane.deployed(app, '1.0.0')
  await appendBuildLog(plane.sql, id, ['-----> Building'])
  const { page } = await open(await link())
  const row = page.getByRole('row', { name: `${app} 1.0.0` })
  await row.getByRole('button').hover()
  await page.mouse.down()
  const before = await row.textContent()
  await expect.poll(() => row.textContent()).not.toBe(before)
  await page.mouse.up()
  await page.getByText('-----> Building').waitFor()
})

test('weak walls are a bar over everything, with what raises them, for as long as they are weak', async () => {
  const proved = { part: 'worker' as const, instance: 'worker-1', mode: 'none' as const }
  const summary = 'apps and builds are NOT walled off, they reach other apps’ files'
  await recordIsolation(plane.sql, {
    ...proved,
    summary,
    advice: ['install what is missing: apt-get install bubblewrap'],
  })
  const { page } = await open(await link())
  const bar = page.getByRole('alert')
  await bar.waitFor()
  expect(await bar.textContent()).toBe(
    `Isolation none: ${summary}. To raise it: install what is missing: apt-get install bubblewrap`,
  )
  await recordIsolation(plane.sql, { ...proved, mode: 'strong', summary, advice: [] })
  await bar.waitFor({ state: 'hidden' })
})

test('the log of a version is brought into sight, and closed again', async () => {
  const app = await plane.app()
  for (const version of ['1.0.0', '1.0.1']) await plane.deployed(app, version)
  const { page } = await open(await link())
  await page.setViewportSize({ width: 800, height: 200 })
  await page
    .getByRole('row', { name: `${app} 1.0.1` })
    .getByRole('button')
    .click()
  const heading = page.getByRole('heading', { name: `Log of ${app} 1.0.1 (v2)` })
  await heading.waitFor()
  const { y = -200, height = 0 } = (await heading.boundingBox()) ?? {}
  expect(y).toBeGreaterThan(-1)
  expect(y + height).toBeLessThanOrEqual(200)
  await page.getByRole('button', { name: 'Close the log' }).click()
  await heading.waitFor({ state: 'hidden' })
})

test('on a phone tables are moved in their place, and break no word', async () => {
  const app = await plane.app()
  await plane.deployed(app, '1.0.0')
  const { page } = await open(await link())
  await page.getByText(`${app}.apps.localhost`).waitFor()
  const rowOf = () =>
    page.getByRole('row', { name: `${app} 1.0.0` }).evaluate((row) => Reflect.get(row, 'clientHeight'))
  const high = await rowOf()
  await page.setViewportSize({ width: 400, height: 800 })
  expect(await rowOf()).toBe(high)
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(400)
})

test('text from elsewhere is shown as text and runs nowhere', async () => {
  const app = await plane.app()
  const nasty = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
  const { id } = await createDeployment(plane.sql, {
    app,
    target: { environment: 'preview', branch: nasty, label: `${app}-git-x` },
    version: '1.0.0',
    source: 'upload',
    by: nasty,
  })
  await plane.sql`update deployments set state = 'failed', state_reason = ${nasty} where id = ${id}`
  await appendBuildLog(plane.sql, id, [nasty])
  const { page, problems } = await open(await link())
  const row = page.getByRole('row', { name: `${app} 1.0.0` })
  await row.getByRole('button').click()
  await expect.poll(() => page.locator('#log').textContent()).toContain(nasty)
  expect(await row.textContent()).toContain(nasty)
  expect(await page.evaluate('window.hacked')).toBeUndefined()
  expect(problems).toEqual([])
})

test('without a link it says how to get one; a used one and signing out lead there too', async () => {
  await (await open('/')).page.getByText('atelier open --console').waitFor()
  const used = await link()
  const { page } = await open(used)
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('You are not signed in').waitFor()
  const again = await open(used)
  await again.page.getByText('was used already or is too old').waitFor()
})

test('what is answered after somebody signed out is not shown', async () => {
  const { page } = await open(await link())
  await page.getByRole('button', { name: 'Sign out' }).waitFor()
  const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const status = /\/api\/platform\/status/
  const answer = await page.evaluate(() => fetch('/api/platform/status?limit=500').then((response) => response.text()))
  await page.route(
    status,
    async (route) => {
      asked.resolve()
      await held.promise
      await route.fulfill({ contentType: 'application/json', body: answer })
    },
    { times: 1 },
  )
  await asked.promise
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('You are not signed in').waitFor()
  await page.evaluate(`new MutationObserver(() => { window.isShownAgain = true })
    .observe(document.querySelector('#signed-in'), { attributes: true })`)
  const [answered, lookedAgain] = [page.waitForResponse(status), page.waitForRequest(`${origin}/session`)]
  held.resolve()
  expect((await answered).status()).toBe(200)
  await lookedAgain
  expect(await page.evaluate('window.isShownAgain')).toBeUndefined()
})
