import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { z } from 'zod'
import { actorOfRequest, addressOf } from '../actor.ts'
import { type Deed, recordDone } from '../audit.ts'
import { type Config, consoleUrl } from '../config.ts'
import { endSession, findSession, redeemSignInCode, type Session } from '../console-sessions.ts'
import { AppError } from '../errors.ts'
import type { Log } from '../log.ts'
import { choosePassword, linkIsGone, signInByPassword } from '../password-sign-in.ts'
import { findLink } from '../people.ts'
import type { Sql } from '../sql.ts'

type SignInDeps = { sql: Sql; config: Config; log: Log }

const code = z.string().regex(/^[A-Za-z0-9_-]{43}$/)
const password = z.string().min(1).max(1024)
const signInRequest = z.union([z.strictObject({ code }), z.strictObject({ name: z.string().min(1).max(63), password })])
const welcomeRequest = z.strictObject({ code, password: password.optional() })

export const signInBodyLimit = bodyLimit({
  maxSize: 8192,
  onError: () => {
    throw new AppError('REQUEST_TOO_LARGE', 'a sign-in is shorter than 8 kB')
  },
})

/** Ports share cookies: two platforms on one machine must not sign each other's people out. `__Host-`: set by this host, over TLS. */
export function cookieName(config: Config): string {
  const name = `atelier_console_${config.httpPort}`
  return isSecure(config) ? `__Host-${name}` : name
}

/**
 * Trades the one-time code of a sign-in link, or a name with its password, for a session cookie. Throws REQUEST_INVALID, UNAUTHENTICATED,
 * SIGN_IN_LIMIT.
 */
export async function signIn(context: Context, deps: SignInDeps): Promise<Response> {
  const read = signInRequest.safeParse(await readJson(context))
  if (!read.success)
    throw new AppError('REQUEST_INVALID', 'that is no sign-in link of this console, and no name with a password')
  const given = read.data
  const session =
    'code' in given
      ? await signInByLink(context.req.raw, given.code, deps)
      : await signInByPassword(given, { ...deps, address: addressOfClient(context) })
  return letIn(context, session, deps)
}

/**
 * With the code of a link an admin has made: whose it is; with a password besides, that becomes theirs and they are signed in. Throws
 * REQUEST_INVALID, UNAUTHENTICATED, PASSWORD_WEAK, SIGN_IN_LIMIT.
 */
export async function welcome(context: Context, deps: SignInDeps): Promise<Response> {
  const read = welcomeRequest.safeParse(await readJson(context))
  if (!read.success) throw new AppError('REQUEST_INVALID', 'that is no link of this console')
  const { code, password } = read.data
  if (password !== undefined) {
    const session = await choosePassword({ code, password }, { ...deps, address: addressOfClient(context) })
    return letIn(context, session, deps)
  }
  const link = await findLink(deps.sql, code)
  if (!link) throw linkIsGone()
  return context.json({ name: link.name })
}

export async function signOut(context: Context, { sql, config }: SignInDeps): Promise<Response> {
  const secret = getCookie(context, cookieName(config)) ?? ''
  const caller = await findSession(sql, secret)
  await sql.begin(async (tx) => {
    await endSession(tx, secret)
    if (caller)
      await recordDone(tx, actorOfRequest(caller, context.req.raw, 'console'), { action: 'sign out', app: null })
  })
  deleteCookie(context, cookieName(config), cookieAttributes(config))
  return context.body(null, 204)
}

async function signInByLink(request: Request, code: string, { sql }: SignInDeps): Promise<Session> {
  return sql.begin(async (tx) => {
    const session = await redeemSignInCode(tx, code)
    const caller = session && (await findSession(tx, session.secret))
    if (!session || !caller)
      throw new AppError(
        'UNAUTHENTICATED',
        'this sign-in link was used already or is too old; for a new one run: atelier open --console',
      )
    const deed: Deed = { action: 'sign in', app: null, detail: { by: 'link' } }
    await recordDone(tx, actorOfRequest(caller, request, 'console'), deed)
    return session
  })
}

function letIn(context: Context, { secret, maxAgeSec }: Session, { config }: SignInDeps): Response {
  setCookie(context, cookieName(config), secret, { ...cookieAttributes(config), maxAge: maxAgeSec })
  return context.body(null, 204)
}

function addressOfClient(context: Context): string | null {
  return addressOf(context.req.header('x-forwarded-for') ?? null)
}

function cookieAttributes(config: Config) {
  return { path: '/', httpOnly: true, sameSite: 'Lax' as const, secure: isSecure(config) }
}

function isSecure(config: Config): boolean {
  return consoleUrl(config).startsWith('https:')
}

async function readJson(context: Context): Promise<unknown> {
  try {
    return await context.req.json()
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown
    throw new AppError('REQUEST_INVALID', 'the body is not valid JSON', { cause: thrown })
  }
}
