export const eventsPath = '/__atelier/events'
export const scriptPath = '/__atelier/dev.js'
export const scriptTag = `<script src="${scriptPath}" async></script>`

/** Runs in the browser: reloads the page when there is a new version, and lays the reason over it when there is none. */
export const reloadScript = `
const events = new EventSource(${JSON.stringify(eventsPath)})
let known = null
events.onmessage = ({ data }) => {
  const { version, problem } = JSON.parse(data)
  if (known !== null && version !== known) location.reload()
  known ??= version
  show(problem)
}
function show(problem) {
  document.getElementById('atelier-dev')?.remove()
  if (problem === null || document.body === null) return
  const box = document.createElement('div')
  box.id = 'atelier-dev'
  box.setAttribute('role', 'alert')
  box.style.cssText = 'position:fixed;inset:auto 0 0 0;max-height:60vh;overflow:auto;z-index:2147483647;background:#1b1b1f;color:#f5f5f5;' +
    'border-top:4px solid #e5484d;padding:16px 20px;font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap;text-align:left'
  box.textContent = 'Not built; this is the version before.\\n\\n' + problem
  document.body.append(box)
}
`

export const startingPage = page('The first build is under way', 'This page shows the app when it is live.')

/** Of a build that failed before any was live. */
export function problemPage(problem: string): string {
  return page('Not built', problem)
}

function page(title: string, text: string): string {
  return `<!doctype html>
<meta charset="utf-8"><title>${title}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:10vh auto;max-width:80ch;padding:0 20px;color-scheme:light dark}
pre{font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap}</style>
<h1>${title}</h1><pre>${escaped(text)}</pre>
<script>
const events = new EventSource(${JSON.stringify(eventsPath)})
let known = null
events.onmessage = ({ data }) => {
  if (known !== null && data !== known) location.reload()
  known ??= data
}
</script>
`
}

function escaped(text: string): string {
  return text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`)
}
