import { createHash } from 'node:crypto'
import { ERRORS } from '../errors.ts'
import type { OpenApiDocument } from './openapi.ts'
import { fieldsOf, type Schema, typeText } from './schema-text.ts'

type Parameter = { name: string; in: string; required?: boolean; schema: Schema; description?: string }
type Content = Record<string, { schema: Schema }>
type Operation = {
  summary?: string
  description?: string
  parameters?: Parameter[]
  requestBody?: { content: Content }
  responses: Record<string, { description: string; content?: Content }>
}

const style = `:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:light-dark(#0b57d0,#8ab4f8)}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}
a{color:var(--link)}code,pre{font:14px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
nav ul{columns:24rem;list-style:none;padding:0}section{border-top:1px solid var(--line);padding:.5rem 0 1rem}
h2{font-size:1.1rem;margin:.6rem 0 .2rem}h2 b{display:inline-block;min-width:4.2rem}
table{border-collapse:collapse;width:100%;margin:.4rem 0}td,th{border-bottom:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top}
th{font-weight:600;font-size:.85rem}pre{background:var(--soft);padding:.6rem;overflow:auto;white-space:pre-wrap}
.wide{overflow-x:auto}.soft{opacity:.75}`

const styleHash = createHash('sha256').update(style).digest('base64')

/** The API on one page, for people: made from its OpenAPI document, and whole in itself. */
export function docsPage(document: OpenApiDocument): Response {
  return new Response(renderDocs(document), {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-cache',
    },
  })
}

function renderDocs(document: OpenApiDocument): string {
  const routes = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item as Record<string, Operation>).map(([method, operation]) => ({ method, path, operation })),
  )
  const schemas = (document.components?.schemas ?? {}) as Record<string, Schema>
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Atelier: the HTTP API</title><style>${style}</style></head><body>
<h1>The HTTP API</h1>
<p>At <code>${asHtml(document.servers?.[0]?.url ?? '')}</code>, with a bearer token (<code>atelier tokens create</code>). For programs: <a href="/openapi.json">openapi.json</a>.
A change may carry <code>Idempotency-Key</code>: within a day it is made once, however often it comes. More requests than a token or an address may send in a minute are 429, with <code>retry-after</code>.</p>
<nav><ul>${routes.map(({ method, path }) => `<li><a href="#${idOf(method, path)}"><code>${method.toUpperCase()} ${asHtml(short(path))}</code></a></li>`).join('')}</ul></nav>
<main>${routes.map(({ method, path, operation }) => renderRoute(method, path, operation)).join('\n')}
<section id="errors"><h2>Errors</h2><p><code>{"error":{"code","message"}}</code>. Codes stay as they are; sentences may change.</p>
${table(
  ['code', 'status', 'what it says'],
  Object.entries(ERRORS).map(([code, { status, summary }]) => [
    `<code>${code}</code>`,
    String(status),
    asHtml(summary),
  ]),
)}</section>
${Object.entries(schemas)
  .map(([name, schema]) => renderSchema(name, schema))
  .join('\n')}</main></body></html>
`
}

function renderRoute(method: string, path: string, operation: Operation): string {
  const { summary = '', description = '', parameters = [], requestBody, responses } = operation
  const taken = parameters.map((one) => [
    `<code>${asHtml(one.name)}</code>`,
    one.in,
    typeCell(one.schema, one.required ?? false),
    asHtml(one.schema.description ?? one.description ?? ''),
  ])
  const good = Object.entries(responses).filter(([status]) => status.startsWith('2'))
  return `<section id="${idOf(method, path)}"><h2><b>${method.toUpperCase()}</b> <code>${asHtml(path)}</code></h2>
<p>${asHtml(summary)} <span class="soft">${asHtml(description).replace(/`([^`]+)`/g, '<code>$1</code>')}</span></p>
${taken.length > 0 ? table(['name', 'in', 'type', ''], taken) : ''}
${Object.entries(requestBody?.content ?? {})
  .map(([type, { schema }]) => `<p>Takes <code>${asHtml(type)}</code></p>${renderFields(schema)}`)
  .join('\n')}
${good.map(([status, answer]) => renderAnswer(status, answer)).join('\n')}</section>`
}

function renderAnswer(status: string, { description, content = {} }: Operation['responses'][string]): string {
  const kinds = Object.entries(content).filter(([type]) => type !== 'text/event-stream')
  const shown = kinds.map(
    ([type, { schema }]) => `<p class="soft"><code>${asHtml(type)}</code></p>${renderFields(schema)}`,
  )
  return `<p>Answers <b>${status}</b>: ${asHtml(description)}</p>${shown.join('')}`
}

function renderSchema(name: string, schema: Schema): string {
  return `<section id="schema-${asHtml(name)}"><h2>${asHtml(name)}</h2>${renderFields(schema)}</section>`
}

function renderFields(schema: Schema): string {
  const fields = fieldsOf(schema)
  if (fields.length === 0) return `<p>${link(typeText(schema))}</p>`
  return table(
    ['field', 'type', ''],
    fields.map(({ name, isRequired, schema: one }) => [
      `<code>${asHtml(name)}</code>`,
      typeCell(one, isRequired),
      asHtml(one.description ?? ''),
    ]),
  )
}

function typeCell(schema: Schema, isRequired: boolean): string {
  const left = 'default' in schema ? `, default <code>${asHtml(JSON.stringify(schema.default) ?? '')}</code>` : ''
  return `${link(typeText(schema))}${isRequired ? '' : ' <span class="soft">optional</span>'}${left}`
}

// `[[Name]]` stands for another schema of the page.
function link(type: string): string {
  return `<code>${asHtml(type).replace(/\[\[(\w+)\]\]/g, '<a href="#schema-$1">$1</a>')}</code>`
}

function table(head: string[], rows: string[][]): string {
  const cells = (row: string[]) => row.map((cell) => `<td>${cell}</td>`).join('')
  return `<div class="wide"><table><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr>${rows.map((row) => `<tr>${cells(row)}</tr>`).join('')}</table></div>`
}

function short(path: string): string {
  return path.replace('/api/platform/', '')
}

function idOf(method: string, path: string): string {
  return `${method}-${short(path)}`.replace(/[^a-z0-9]+/gi, '-').replace(/-$/, '')
}

function asHtml(text: string): string {
  return text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`)
}
