import type { IncomingMessage, ServerResponse } from 'node:http'

/** Something the edge itself has to say: for people a page, for machines `{ error: { code, message } }`. */
export type Notice = {
  status: number
  code: string
  title: string
  message: string
  /** A command to type next. */
  command?: string
  retryAfterSec?: number
}

/** Writes a notice. The body of HEAD is left out by Node; `headers` are flat pairs. */
export function writeNotice(
  request: IncomingMessage,
  response: ServerResponse,
  notice: Notice,
  headers: string[] = [],
): void {
  const { body, type } = renderNotice(notice, request.headers.accept)
  const retry = notice.retryAfterSec === undefined ? [] : ['retry-after', String(notice.retryAfterSec)]
  response.writeHead(notice.status, [
    ...headers,
    ...retry,
    'content-type',
    type,
    'content-length',
    String(Buffer.byteLength(body)),
    'cache-control',
    'no-store',
    'vary',
    'accept',
  ])
  response.end(body)
}

/** The notice as the bytes of a whole HTTP/1.1 response that closes the connection, for sockets without a response object. */
export function noticeResponse(notice: Notice, accept?: string): string {
  const { body, type } = renderNotice(notice, accept)
  const retry = notice.retryAfterSec === undefined ? '' : `retry-after: ${notice.retryAfterSec}\r\n`
  return `HTTP/1.1 ${notice.status} ${notice.title.replace(/[^\x20-\x7e]/g, '')}\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\ncache-control: no-store\r\n${retry}connection: close\r\n\r\n${body}`
}

export function unknownHost(host: string): Notice {
  return {
    status: 404,
    code: 'HOST_UNKNOWN',
    title: 'Nothing lives here',
    message: `No app of this Atelier answers at ${host}. The address may be mistyped, or the app or preview was removed.`,
    command: 'atelier apps',
  }
}

export function neverDeployed(app: string, branch: string): Notice {
  return {
    status: 404,
    code: 'APP_NOT_DEPLOYED',
    title: `${app} has no version yet`,
    message: 'The app exists, and waits for its first push.',
    command: `git push atelier ${branch}`,
  }
}

export function appStarting(app: string, retryAfterSec: number): Notice {
  return {
    status: 503,
    code: 'APP_STARTING',
    title: `${app} is starting`,
    message: 'It is not ready to answer yet. Please try again in a moment.',
    retryAfterSec,
  }
}

export function appCrashed(app: string, retryAfterSec: number): Notice {
  return {
    status: 503,
    code: 'APP_CRASHED',
    title: `${app} has crashed`,
    message: 'It is started again by itself. Its last words are in the log.',
    command: `atelier logs ${app}`,
    retryAfterSec,
  }
}

export function appUnavailable(app: string): Notice {
  return {
    status: 503,
    code: 'APP_UNAVAILABLE',
    title: `${app} cannot be loaded`,
    message: 'Its files could not be loaded on this server; that is tried again by itself.',
    retryAfterSec: 5,
  }
}

export function appBusy(app: string): Notice {
  return {
    status: 503,
    code: 'APP_BUSY',
    title: `${app} has more requests than it can hold`,
    message: 'Too many requests wait for it to start. Please try again in a moment.',
    retryAfterSec: 2,
  }
}

export function tooManyConnections(): Notice {
  return {
    status: 503,
    code: 'TOO_MANY_CONNECTIONS',
    title: 'Too many connections',
    message: 'Your address holds as many connections to this server as one may. Close some of them first.',
    retryAfterSec: 10,
  }
}

export function connectionLost(app: string): Notice {
  return {
    status: 502,
    code: 'APP_CONNECTION_LOST',
    title: `${app} did not finish its answer`,
    message: 'It closed the connection, or crashed, while it was answering this request.',
    command: `atelier logs ${app}`,
    retryAfterSec: 1,
  }
}

export function noUpgrades(app: string): Notice {
  return {
    status: 501,
    code: 'APP_NO_UPGRADES',
    title: `${app} takes no WebSockets`,
    message:
      'An app that is a fetch function answers requests one by one. One that listens itself can take WebSockets.',
  }
}

export function invalidResponse(app: string, reason: string): Notice {
  return {
    status: 502,
    code: 'APP_RESPONSE_INVALID',
    title: `${app} gave an answer that is not HTTP`,
    message: `Its response was not passed on: ${reason}.`,
    command: `atelier logs ${app}`,
  }
}

export function responseTimeout(app: string, afterSec: number): Notice {
  return {
    status: 504,
    code: 'APP_TIMEOUT',
    title: `${app} did not answer`,
    message: `It took this request and sent nothing back for ${afterSec} seconds.`,
    command: `atelier logs ${app}`,
  }
}

export function bodyTooLarge(maxBytes: number): Notice {
  return {
    status: 413,
    code: 'REQUEST_TOO_LARGE',
    title: 'The request is too large',
    message: `A request body may hold ${Math.floor(maxBytes / 1_048_576)} MB here.`,
  }
}

export function pageNotFound(): Notice {
  return {
    status: 404,
    code: 'PAGE_NOT_FOUND',
    title: 'This page does not exist',
    message: 'The app is here, but it has nothing at this address.',
  }
}

export function fileUnreadable(): Notice {
  return {
    status: 500,
    code: 'STORE_CORRUPT',
    title: 'This file cannot be served',
    message: 'Its stored bytes are not the ones that were published. The operator finds the details in the log.',
  }
}

export function serverBusy(): Notice {
  return {
    status: 503,
    code: 'TOO_MANY_CONNECTIONS',
    title: 'This server has its hands full',
    message: 'It has more connections open than it may have. Please try again in a moment.',
    retryAfterSec: 2,
  }
}

export function methodNotAllowed(): Notice {
  return {
    status: 405,
    code: 'METHOD_NOT_ALLOWED',
    title: 'This is a static site',
    message: 'It answers GET and HEAD.',
  }
}

export function badRequest(status: number, reason: string): Notice {
  return { status, code: 'REQUEST_INVALID', title: 'The request cannot be served', message: `${sentence(reason)}.` }
}

export function controlPlaneDown(part: string): Notice {
  return {
    status: 503,
    code: 'PLATFORM_STARTING',
    title: `The ${part} is not up`,
    message: 'It is starting, or is being restarted. Apps that are live keep running meanwhile.',
    retryAfterSec: 2,
  }
}

export function controlPlaneLost(part: string): Notice {
  return {
    status: 502,
    code: 'PLATFORM_CONNECTION_LOST',
    title: `The ${part} did not finish its answer`,
    message: 'It was restarted while it was answering this request. Deployments that were accepted go on.',
    command: 'atelier status',
    retryAfterSec: 2,
  }
}

function renderNotice(notice: Notice, accept = ''): { body: string; type: string } {
  if (!accept.includes('text/html')) {
    const { code, message, title, command } = notice
    const error = { code, message: `${title}. ${message}`, ...(command ? { command } : {}) }
    return { body: `${JSON.stringify({ error })}\n`, type: 'application/json; charset=utf-8' }
  }
  return { body: page(notice), type: 'text/html; charset=utf-8' }
}

// A page that starts or restarts looks again by itself, so that a person need not.
function page({ status, title, message, command, retryAfterSec }: Notice): string {
  const refresh = retryAfterSec === undefined ? '' : `<meta http-equiv="refresh" content="${retryAfterSec}">`
  const next = command === undefined ? '' : `<pre>${escapeHtml(command)}</pre>`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">${refresh}<title>${escapeHtml(title)}</title>
<style>
:root{color-scheme:light dark}
body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.55 system-ui,sans-serif;background:light-dark(#fafaf8,#161616);color:light-dark(#222,#ddd)}
main{max-width:32rem;padding:2rem}
small{color:light-dark(#888,#888);letter-spacing:.08em}
h1{font-size:1.5rem;font-weight:600;margin:.3rem 0 .8rem;text-wrap:balance}
p{margin:0 0 1rem}
pre{margin:0;padding:.7rem 1rem;border-radius:.4rem;background:light-dark(#efeeea,#242424);font:14px/1.5 ui-monospace,monospace;overflow-x:auto}
</style></head>
<body><main><small>${status}</small><h1>${escapeHtml(title)}</h1><p>${escapeHtml(message)}</p>${next}</main></body></html>
`
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
