import { ago, element, fill, row, text } from './dom.js'

// Who you are, your tokens, and who did what. Read when it is looked at, not with every look at the apps.
let shown = null
let cursor = null
let entries = []

on('#tokens-details', 'toggle', ({ target }) => target.open && showTokens())
on('#audit-details', 'toggle', ({ target }) => target.open && showAudit())
on('#audit-older', 'click', () => showAudit(cursor))
on('#create-token', 'submit', createToken)

/** Says who is signed in; once for each of them. */
export async function showAccess() {
  if (shown !== null) return
  const who = await ask('GET', 'whoami')
  if (!who) return
  shown = who.name
  const { person, scope, app_id } = who
  const rights = person ? rolesOf(person) : `a token of scope ${scope}${app_id ? `, ${app_id} only` : ''}`
  text('#who', `${who.name} (${rights})`)
  document.querySelector('#audit-details').hidden = !mayAudit(who)
}

// As the API decides it (registry/rights.ts): to others it would be a list that refuses to open.
function mayAudit({ person, scope, app_id }) {
  if (scope !== 'admin' || app_id !== null) return false
  return !person || person.platform_role === 'admin' || Object.values(person.roles).includes('owner')
}

function rolesOf({ platform_role, roles }) {
  const onApps = Object.entries(roles).map(([app, role]) => `${role} of ${app}`)
  return [platform_role, ...onApps].join(', ')
}

/** Somebody else may be next in this browser. */
export function forgetAccess() {
  shown = null
  entries = []
  for (const id of ['#tokens', '#audit']) fill(id, [])
  for (const id of ['#tokens-details', '#audit-details']) document.querySelector(id).open = false
  text('#new-token', '')
  document.querySelector('#new-token').hidden = true
}

async function showTokens() {
  const tokens = []
  for (let next = ''; next !== null; ) {
    const page = await ask('GET', `tokens?limit=500${next && `&cursor=${next}`}`)
    if (!page) return
    tokens.push(...page.tokens)
    next = page.next
  }
  fill('#tokens', tokens.map(tokenRow))
}

function tokenRow({ id, name, scope, app_id, person, expires_at, last_used_at }) {
  const remove = element('button', 'Remove')
  remove.type = 'button'
  remove.setAttribute('aria-label', `Remove ${name}`)
  remove.addEventListener('click', async () => {
    if ((await ask('DELETE', `tokens/${encodeURIComponent(id)}`)) !== null) await showTokens()
  })
  const used = last_used_at ? ago(last_used_at) : 'never'
  return row([name, scope, app_id ?? 'all', person ?? 'nobody', expires_at?.slice(0, 10) ?? 'never', used, remove], id)
}

async function createToken(event) {
  event.preventDefault()
  const { name, scope, days } = Object.fromEntries(new FormData(event.target))
  const made = await ask('POST', 'tokens', { name, scope, expires_in_days: Number(days) })
  if (!made) return
  event.target.elements.name.value = ''
  const place = document.querySelector('#new-token')
  place.replaceChildren('It is shown this once: ', element('code', made.secret))
  place.hidden = false
  await showTokens()
}

async function showAudit(before = null) {
  const page = await ask('GET', `audit?limit=50${before === null ? '' : `&cursor=${before}`}`)
  if (!page) return
  entries = before === null ? page.entries : [...entries, ...page.entries]
  cursor = page.next
  fill('#audit', entries.map(entryRow))
  document.querySelector('#audit-older').hidden = cursor === null
}

function entryRow({ id, at, who, via, from, what, app_id, detail, outcome }) {
  const cell = document.createDocumentFragment()
  const { app, ...rest } = detail
  cell.append(what, element('span', Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : '', 'quiet'))
  const result = element('span', outcome ?? 'not known', outcome === 'done' ? 'good' : 'bad')
  return row([ago(at), who, cell, app_id ?? '', from ? `${from} (${via})` : via, result], String(id))
}

// Null: it was refused, and the reason is on the page.
async function ask(method, path, body) {
  const response = await fetch(`/api/platform/${path}`, {
    method,
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  if (response.status === 204) return true
  const answer = await response.json()
  const place = document.querySelector('#notice')
  place.textContent = response.ok ? '' : answer.error.message
  place.hidden = response.ok
  return response.ok ? answer : null
}

function on(selector, event, listener) {
  document.querySelector(selector).addEventListener(event, listener)
}
