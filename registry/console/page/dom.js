// What the page is made of. Everything is set as text: nothing here ever parses HTML.

export function link(url) {
  const anchor = element('a', new URL(url).host)
  anchor.href = url
  anchor.rel = 'noreferrer'
  return anchor
}

const longestShort = 24

/** `key` tells it from all others in its table, from one look to the next. */
export function row(cells, key = '') {
  const tr = document.createElement('tr')
  tr.dataset.key = key
  for (const cell of cells) {
    const td = document.createElement('td')
    td.append(cell)
    // Names and times are not broken inside a word because a long reason stands beside them.
    if (td.textContent.length <= longestShort) td.className = 'short'
    tr.append(td)
  }
  return tr
}

export function element(name, content, className = '') {
  const made = document.createElement(name)
  made.textContent = content
  if (className) made.className = className
  return made
}

/**
 * Makes these the children of a place. A row that was there before stays, and what is the same in it: a button that were replaced between the press
 * and the release of a mouse would never be clicked, and would lose the keyboard's focus.
 */
export function fill(selector, rows) {
  const place = document.querySelector(selector)
  const before = new Map([...place.children].map((child) => [child.dataset.key, child]))
  const after = rows.map((fresh) => {
    const kept = fresh.dataset.key ? before.get(fresh.dataset.key) : undefined
    return kept ? renewed(kept, fresh) : fresh
  })
  for (const child of [...place.children]) if (!after.includes(child)) child.remove()
  for (const [index, child] of after.entries())
    if (place.children[index] !== child) place.insertBefore(child, place.children[index] ?? null)
}

function renewed(kept, fresh) {
  for (const [index, cell] of [...fresh.cells].entries()) {
    if (kept.cells[index].isEqualNode(cell)) continue
    kept.cells[index].className = cell.className
    kept.cells[index].replaceChildren(...cell.childNodes)
  }
  return kept
}

export function text(selector, content) {
  document.querySelector(selector).textContent = content
}

export function shortVersion(version) {
  return /^[0-9a-f]{40,64}$/.test(version) ? version.slice(0, 7) : version
}

export function ago(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000))
  if (seconds < 60) return `${seconds} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86_400)} d ago`
}
