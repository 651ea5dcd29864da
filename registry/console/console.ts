import { Hono } from 'hono'
import { getCookie } from 'hono/cookie'
import { type Config, consoleUrl } from '../config.ts'
import { findSession } from '../console-sessions.ts'
import { answerOfDatabase } from '../deadline.ts'
import { AppError, ERRORS, toAppError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Caller } from '../rights.ts'
import type { Sql } from '../sql.ts'
import { page } from './page.ts'
import { cookieName, signIn, signInBodyLimit, signOut, welcome } from './sign-in.ts'

/** A signed-in browser, as the API takes it instead of a bearer token; `again` asks whom its session stands for by now. */
export type SignedIn = { caller: Caller; again: () => Promise<Caller | null> }

export type ConsoleDeps = {
  sql: Sql
  config: Config
  log: Log
  /** The API, asked in the name of the signed-in caller: the page knows nothing that the API does not. */
  api: (request: Request, signedIn: SignedIn) => Response | Promise<Response>
}

/** The web console as a fetch handler: one page, its scripts and style, signing in and out, and the API behind the session. */
export function createConsole({ sql, config, log, api }: ConsoleDeps): Hono {
  const console = new Hono()
  console.use(async (context, next) => {
    await next()
    for (const [name, value] of Object.entries(securityHeaders)) context.res.headers.set(name, value)
  })
  console.get('/', () => page('console.html'))
  for (const file of ['console.js', 'dom.js', 'rollouts.js', 'access.js', 'console.css'] as const)
    console.get(`/${file}`, () => page(file))
  console.post('/session', signInBodyLimit, async (context) => {
    refuseOtherSites(context.req.raw, config)
    return signIn(context, { sql, config, log })
  })
  console.get('/session', async (context) => {
    const caller = await answerOfDatabase(findSession(sql, getCookie(context, cookieName(config)) ?? ''))
    return context.json({ signed_in: caller !== null })
  })
  console.post('/welcome', signInBodyLimit, async (context) => {
    refuseOtherSites(context.req.raw, config)
    return welcome(context, { sql, config, log })
  })
  console.delete('/session', async (context) => {
    refuseOtherSites(context.req.raw, config)
    return signOut(context, { sql, config, log })
  })
  console.all('/api/platform/*', async (context) => {
    if (context.req.method !== 'GET') refuseOtherSites(context.req.raw, config)
    const secret = getCookie(context, cookieName(config)) ?? ''
    const caller = await answerOfDatabase(findSession(sql, secret))
    if (!caller) throw new AppError('UNAUTHENTICATED', 'sign in first; for a link run: atelier open --console')
    const response = await api(context.req.raw, { caller, again: () => findSession(sql, secret) })
    return new Response(response.body, response)
  })
  console.notFound((context) => context.text('There is nothing here. The console is at /', 404))
  console.onError((thrown) => {
    const { code, message, fault } = toAppError(thrown)
    if (fault === 'platform') log.error({ err: thrown }, 'console request failed')
    const shown = code === 'INTERNAL' ? 'something broke inside Atelier; its log says more' : message
    const { status } = ERRORS[code]
    return Response.json(
      { error: { code, message: shown } },
      { status, headers: status === 429 ? { 'retry-after': '60' } : {} },
    )
  })
  return console
}

const securityHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
}

// A browser sends the session's cookie whoever made it ask; it also says who that was, and pages cannot forge that.
function refuseOtherSites(request: Request, config: Config): void {
  const origin = request.headers.get('origin')
  if (origin !== consoleUrl(config))
    throw new AppError('ORIGIN_FOREIGN', `requests that change something must come from ${consoleUrl(config)}`)
}
