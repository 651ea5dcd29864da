import { afterAll, beforeAll, expect, test } from 'vitest'
import { appendBuildLog } from '../registry/build-logs.ts'
import { createSignInCode } from '../registry/console-sessions.ts'
import { createPersonLink } from '../registry/people.ts'
import { ensureAdminToken, newSecret } from '../registry/tokens.ts'
import { openBrowser } from './support/browser.ts'
import { startControlPlane } from './support/control-plane.ts'

// Coming in, and who may do what, in a real browser over real HTTP.
const plane = await startControlPlane({ relay: true })
const browser = await openBrowser()
afterAll(async () => {
  await browser.close()
  await plane.close()
})

const origin = `http://console.localhost:${plane.config.httpPort}`
const password = 'correct horse battery'
beforeAll(() => ensureAdminToken(plane.sql, newSecret()))

async function open(path = '/') {
  const context = await browser.newContext()
  const page = await context.newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/40[0139]/.test(message.text())) problems.push(message.text())
  })
  await page.goto(`${origin}${path}`)
  return { page, context, problems }
}

test('an invited person chooses a password by their link, is in, and comes back with name and password', async () => {
  const app = await plane.app()
  const other = await plane.app()
  const ada = await plane.person('guest', { [app]: 'owner' })
  const { code } = await createPersonLink(plane.sql, ada.id)
  const { page, context, problems } = await open(`/#welcome=${code}`)
  await page.getByText(`Welcome, ${ada.name}. Choose the password`).waitFor()
  expect(page.url()).toBe(`${origin}/`)
  const choosing = page.getByRole('form', { name: 'Choose a password' })
  await choosing.getByLabel('Password').fill('password1234')
  await page.getByRole('button', { name: 'Save and sign in' }).click()
  await page.getByText('among the first that are tried').waitFor()
  await choosing.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Save and sign in' }).click()
  await page.getByText(`You are ${ada.name} (guest, owner of ${app}).`).waitFor()
  await page.getByText(`${app}.apps.localhost`).waitFor()
  expect(await page.locator('body').textContent()).not.toContain(other)

  const [cookie] = await context.cookies()
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Lax', path: '/' })
  expect(await page.evaluate('document.cookie')).toBe('')

  await page.getByRole('button', { name: 'Sign out' }).click()
  const signingIn = page.getByRole('form', { name: 'Sign in' })
  await signingIn.getByLabel('Name').fill(ada.name)
  await signingIn.getByLabel('Password').fill('not the password')
  await signingIn.getByRole('button').click()
  await page.getByText('this name and password do not belong together').waitFor()
  await signingIn.getByLabel('Password').fill(password)
  await signingIn.getByRole('button').click()
  await page.getByText(`You are ${ada.name} (guest, owner of ${app}).`).waitFor()

  const again = await open(`/#welcome=${code}`)
  await again.page.getByText('this link was used already').waitFor()
  expect(problems).toEqual([])
})

test('a person makes a token and removes it, and reads who did what; text from elsewhere stays text', async () => {
  const app = await plane.app()
  const ada = await plane.person('member', { [app]: 'owner' })
  const nasty = '<img src=x onerror="window.hacked=1">'
  await plane.ask('POST', 'lock', { token: await ada.token(), json: { app_id: app, message: nasty } })
  const { code } = await createSignInCode(plane.sql, { personId: ada.id })
  const { page, problems } = await open(`/#token=${code}`)
  await page.getByText(`You are ${ada.name} (member, owner of ${app}).`).waitFor()

  await page.getByText('Your tokens').click()
  await page.getByLabel('What for').fill(nasty)
  await page.getByRole('button', { name: 'Create a token' }).click()
  const said = page.getByText('It is shown this once')
  await said.waitFor()
  const secret = /atl_[\w-]{43}/.exec((await said.textContent()) ?? '')?.[0] ?? ''
  expect((await plane.ask('GET', 'whoami', { token: secret })).json).toMatchObject({ name: ada.name, scope: 'deploy' })
  await page.getByRole('row', { name: nasty }).getByRole('button').click()
  await page.getByRole('row', { name: nasty }).waitFor({ state: 'detached' })
  expect((await plane.ask('GET', 'whoami', { token: secret })).status).toBe(401)

  await page.getByText('Who did what').click()
  const row = page.getByRole('row', { name: / lock \{/ })
  await row.waitFor()
  expect(await row.textContent()).toContain(ada.name)
  expect(await row.textContent()).toContain('onerror')
  expect(await row.textContent()).not.toContain('POST /')
  expect(await page.evaluate('window.hacked')).toBeUndefined()
  expect(problems).toEqual([])
})

test('who comes after somebody in one browser sees nothing of theirs', async () => {
  const app = await plane.app()
  const [ada, bea] = [await plane.person('member', { [app]: 'viewer' }), await plane.person('member')]
  await ada.token()
  const { id } = await plane.deployed(app, '1.0.0')
  await appendBuildLog(plane.sql, id, ['-----> Built for ada'])
  const codeOf = async (personId: string) => (await createSignInCode(plane.sql, { personId })).code
  const { page } = await open(`/#token=${await codeOf(ada.id)}`)
  await page.getByText('Your tokens').click()
  await page.getByText(`admin-of-${ada.name}`).waitFor()
  await page.getByRole('button', { name: '1.0.0 (v1)' }).click()
  await page.getByText('-----> Built for ada').waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('You are not signed in').waitFor()
  expect(await page.locator('body').textContent()).not.toContain('Built for ada')
  expect(await page.getByText(/building, .* waiting/).isVisible()).toBe(false)
  await page.goto(`${origin}/#token=${await codeOf(bea.id)}`)
  await page.reload()
  await page.getByText(`You are ${bea.name}`).waitFor()
  expect(await page.locator('body').textContent()).not.toContain(ada.name)
})

test('the audit log is offered to those who may read it', async () => {
  const app = await plane.app()
  for (const [role, isOffered] of [
    ['owner', true],
    ['deployer', false],
    ['viewer', false],
  ] as const) {
    const one = await plane.person('guest', { [app]: role })
    const { code } = await createSignInCode(plane.sql, { personId: one.id })
    const { page } = await open(`/#token=${code}`)
    await page.getByText(`You are ${one.name} (guest, ${role} of ${app}).`).waitFor()
    expect(await page.getByText('Who did what').isVisible()).toBe(isOffered)
  }
})

test('what somebody was refused is said until they do something else', async () => {
  const ada = await plane.person('member')
  const secret = await ada.token()
  const { code } = await createSignInCode(plane.sql, { personId: ada.id })
  const { page } = await open(`/#token=${code}`)
  await page.getByText('Your tokens').click()
  const remove = page.getByRole('row', { name: `admin-of-${ada.name}` }).getByRole('button')
  await remove.waitFor()
  const { json } = await plane.ask('GET', 'tokens', { token: secret })
  const [{ id }] = (json as { tokens: [{ id: string }] }).tokens
  expect((await plane.ask('DELETE', `tokens/${id}`, { token: secret })).status).toBe(204)
  await remove.click()
  const refusal = page.getByText('there is no token')
  await refusal.waitFor()
  for (const _ of [1, 2]) await page.waitForResponse(/platform[/]deploys/)
  await page.waitForResponse(/platform[/]status/)
  expect(await refusal.isVisible()).toBe(true)
})

test('a page that nobody is signed in to asks the API for nothing', async () => {
  const page = await (await browser.newContext()).newPage()
  const problems: string[] = []
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  page.on('response', (response) => response.status() >= 400 && problems.push(response.url()))
  await page.goto(origin)
  await page.getByText('You are not signed in').waitFor()
  for (const _ of [1, 2]) await page.waitForResponse(`${origin}/session`)
  expect(problems).toEqual([])
})
