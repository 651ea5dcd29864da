import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { z } from 'zod'
import { type Config, consoleUrl } from '../config.ts'
import { endSession, redeemSignInCode } from '../console-sessions.ts'
import { AppError } from '../errors.ts'
import type { Sql } from '../sql.ts'

const request = z.strictObject({ code: z.string().regex(/^[A-Za-z0-9_-]{43}$/) })

export const signInBodyLimit = bodyLimit({
  maxSize: 1024,
  onError: () => {
    throw new AppError('REQUEST_TOO_LARGE', 'a sign-in is shorter than 1 kB')
  },
})

/** Ports share cookies: two platforms on one machine must not sign each other's people out. */
export function cookieName({ httpPort }: Config): string {
  return `atelier_console_${httpPort}`
}

/** Trades the one-time code of a sign-in link for a session cookie. Throws REQUEST_INVALID, UNAUTHENTICATED. */
export async function signIn(context: Context, { sql, config }: { sql: Sql; config: Config }): Promise<Response> {
  const read = request.safeParse(await readJson(context))
  if (!read.success) throw new AppError('REQUEST_INVALID', 'that is not a sign-in link of this console')
  const session = await redeemSignInCode(sql, read.data.code)
  if (!session)
    throw new AppError(
      'UNAUTHENTICATED',
      'this sign-in link was used already or is too old; for a new one run: atelier open --console',
    )

  setCookie(context, cookieName(config), session.secret, {
    ...cookieAttributes(config),
    maxAge: session.maxAgeSec,
  })
  return context.body(null, 204)
}

export async function signOut(context: Context, { sql, config }: { sql: Sql; config: Config }): Promise<Response> {
  await endSession(sql, getCookie(context, cookieName(config)) ?? '')
  deleteCookie(context, cookieName(config), cookieAttributes(config))
  return context.body(null, 204)
}

function cookieAttributes(config: Config) {
  return { path: '/', httpOnly: true, sameSite: 'Lax' as const, secure: consoleUrl(config).startsWith('https:') }
}

async function readJson(context: Context): Promise<unknown> {
  try {
    return await context.req.json()
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown
    throw new AppError('REQUEST_INVALID', 'the body is not valid JSON', { cause: thrown })
  }
}
