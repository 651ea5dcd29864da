// What the page is made of. Everything is set as text: nothing here ever parses HTML.

export function link(url) {
  const anchor = element('a', new URL(url).host)
  anchor.href = url
  anchor.rel = 'noreferrer'
  return anchor
}

export function row(cells) {
  const tr = document.createElement('tr')
  for (const cell of cells) {
    const td = document.createElement('td')
    td.append(cell)
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

export function fill(selector, rows) {
  document.querySelector(selector).replaceChildren(...rows)
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
