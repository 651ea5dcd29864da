import { forgetAccess, showAccess } from './access.js'
import { ago, element, fill, link, row, shortVersion, text } from './dom.js'
import { rolloutCard } from './rollouts.js'

// Everything shown comes from the API as text and is set as text: nothing here ever parses HTML.
const pollMs = 2000
const states = {
  good: ['live'],
  bad: ['failed'],
  busy: ['queued', 'building', 'built', 'uploading', 'canary'],
}

let isSignedIn = false
let signOuts = 0
let hasFailed = false
let openDeployment = null
let shownSeq = 0

document.querySelector('#sign-out').addEventListener('click', signOut)
document.querySelector('#close-log').addEventListener('click', closeLog)
document.querySelector('#sign-in').addEventListener('submit', (event) => signInWith(event, '/session', {}))
await signInWithLink()
await welcome()
await refresh()

// The code of a sign-in link stands in the fragment, which no server sees; it is taken out of the address before anything else happens.
async function signInWithLink() {
  const code = /^#token=([\w-]+)$/.exec(location.hash)?.[1]
  if (!code) return
  history.replaceState(null, '', '/')
  const response = await post('/session', { code })
  if (!response.ok) notice((await response.json()).error.message)
}

// A link an admin has made for one person, who chooses a password with it.
async function welcome() {
  const code = /^#welcome=([\w-]+)$/.exec(location.hash)?.[1]
  if (!code) return
  history.replaceState(null, '', '/')
  const response = await post('/welcome', { code })
  const answer = await response.json()
  if (!response.ok) return notice(answer.error.message)
  text('#welcome-name', answer.name)
  const form = document.querySelector('#choose-password')
  form.elements.name.value = answer.name
  form.addEventListener('submit', (event) => signInWith(event, '/welcome', { code }))
  await new Promise((resolve) => {
    document.querySelector('#welcome').hidden = false
    form.addEventListener('signed-in', resolve, { once: true })
  })
  document.querySelector('#welcome').hidden = true
}

async function signInWith(event, path, given) {
  event.preventDefault()
  const form = event.target
  const { name, password } = Object.fromEntries(new FormData(form))
  const response = await post(path, 'code' in given ? { ...given, password } : { name, password })
  form.elements.password.value = ''
  if (!response.ok) return notice((await response.json()).error.message)
  notice('')
  form.dispatchEvent(new Event('signed-in'))
  if (path === '/session') await show()
}

function post(path, body) {
  return fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
}

async function signOut() {
  await fetch('/session', { method: 'DELETE' })
  signOuts += 1
  notice('')
  showSignedIn(false)
}

async function refresh() {
  try {
    if (document.visibilityState === 'visible') await show()
    // What somebody was told of what they did stays until they do something else.
    if (hasFailed) notice('')
    hasFailed = false
  } catch (error) {
    hasFailed = true
    notice(`The platform does not answer (${error.message}); trying again.`)
  }
  setTimeout(refresh, pollMs)
}

async function show() {
  if (!isSignedIn && !(await hasSession())) return showSignedIn(false)
  const before = signOuts
  const [status, list] = await Promise.all([readStatus(), read('deploys?limit=30')])
  // What was answered to somebody who has signed out since is not for who sits there now.
  if (before !== signOuts) return
  if (!status || !list) return showSignedIn(false)
  showSignedIn(true)
  const { edges, queued, running, isolation } = status.platform
  warn(isolation)
  text('#platform', `${edges === 1 ? '1 edge' : `${edges} edges`}, ${running} building, ${queued} waiting`)
  fill('#apps', status.apps.map(appRow))
  fill('#deployments', list.deployments.map(deploymentRow))
  showRollouts(status.apps)
  await showAccess()
  document.querySelector('#no-apps').hidden = status.apps.length > 0
  if (openDeployment) await showLog()
}

function showRollouts(apps) {
  fill('#rollouts', [
    ...apps.flatMap(({ app_id, locks }) => locks.map((lock) => lockLine(app_id, lock))),
    ...apps.flatMap(({ rollout }) => (rollout ? [rolloutCard(rollout)] : [])),
  ])
  document.querySelector('#rollouts-section').hidden = document.querySelector('#rollouts').childElementCount === 0
}

function lockLine(app, { kind, message, by, at }) {
  const what =
    kind === 'lock'
      ? `${app} is locked by ${by} (${message}), ${ago(at)}; to lift it: atelier unlock --app ${app}`
      : `Automatic deployments of ${app} wait: ${message}; to let them on: atelier unlock --app ${app}`
  return element('p', what, 'busy')
}

// A weak wall is told on every page for as long as it is weak.
function warn({ mode, summary, advice }) {
  const place = document.querySelector('#isolation')
  place.hidden = mode !== 'users' && mode !== 'none'
  place.textContent = `Isolation ${mode}: ${summary}. ${advice.length > 0 ? `To raise it: ${advice[0]}` : ''}`
}

// Asked before the API is: a page that nobody is signed in to would fill the browser's log with what it was refused.
async function hasSession() {
  const response = await fetch('/session')
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.error.message)
  return answer.signed_in
}

// The apps of every page.
async function readStatus() {
  const status = await read('status?limit=500')
  for (let next = status?.next ?? null; next !== null; ) {
    const page = await read(`status?limit=500&cursor=${next}`)
    if (!page) return null
    status.apps.push(...page.apps)
    next = page.next
  }
  return status
}

// Null means: not signed in any more.
async function read(path) {
  const response = await fetch(`/api/platform/${path}`)
  if (response.status === 401) return null
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.error.message)
  return answer
}

function appRow({ url, live, latest }) {
  const address = live ? link(url) : element('span', new URL(url).host)
  return row(
    [
      address,
      live ? shortVersion(live.version) : element('span', 'nothing yet', 'quiet'),
      live ? ago(live.state_since) : '',
      latest ? state(latest) : '',
    ],
    url,
  )
}

function deploymentRow(deployment) {
  const open = element('button', `${shortVersion(deployment.version)} (v${deployment.number})`, 'link')
  open.type = 'button'
  open.addEventListener('click', () => openLog(deployment))
  const { app_id, branch, created_by, created_at } = deployment
  return row([app_id, open, branch, state(deployment), created_by, ago(created_at)], deployment.id)
}

function openLog(deployment) {
  openDeployment = deployment.id
  shownSeq = 0
  text('#log-heading', `Log of ${deployment.app_id} ${shortVersion(deployment.version)} (v${deployment.number})`)
  text('#log', '')
  document.querySelector('#log-section').hidden = false
  const heading = document.querySelector('#log-heading')
  heading.scrollIntoView({ block: 'start' })
  heading.focus({ preventScroll: true })
  void showLog()
}

function closeLog() {
  openDeployment = null
  text('#log', '')
  document.querySelector('#log-section').hidden = true
}

async function showLog() {
  const id = openDeployment
  const response = await fetch(`/api/platform/deployments/${id}/logs?after=${shownSeq}`)
  const lines = (await response.text()).split('\n').filter((line) => line.trim())
  const events = lines.map((line) => JSON.parse(line)).filter(({ type, seq }) => type === 'log' && seq > shownSeq)
  if (id !== openDeployment || events.length === 0) return
  shownSeq = events.at(-1).seq
  const colours = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g')
  document.querySelector('#log').append(...events.map((event) => `${event.text.replace(colours, '')}\n`))
}

function state({ state, state_reason }) {
  const kind = Object.keys(states).find((name) => states[name].includes(state)) ?? 'quiet'
  const shown = element('span', state.replace('_', ' '), kind)
  if (!state_reason) return shown
  const cell = document.createDocumentFragment()
  cell.append(shown, element('span', `: ${state_reason}`, 'quiet'))
  return cell
}

function notice(message) {
  const place = document.querySelector('#notice')
  place.textContent = message
  place.hidden = message === ''
}

function showSignedIn(is) {
  if (!is) {
    forgetAccess()
    closeLog()
    text('#platform', '')
    document.querySelector('#isolation').hidden = true
  }
  isSignedIn = is
  document.querySelector('#signed-in').hidden = !is
  document.querySelector('#signed-out').hidden = is
  document.querySelector('#sign-out').hidden = !is
}
