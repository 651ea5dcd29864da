import type { IncomingMessage } from 'node:http'
import { type App, findApp, parseSlug } from '../registry/apps.ts'
import { AppError } from '../registry/errors.ts'
import { refusalOf } from '../registry/refusals.ts'
import { type Caller, may } from '../registry/rights.ts'
import type { Db } from '../registry/sql.ts'
import { authenticate } from '../registry/tokens.ts'
import { answerOfDatabase } from './deadline.ts'

export type Service = 'git-upload-pack' | 'git-receive-pack'
/** What a URL of git's smart HTTP asks for. `discovery`: the ref advertisement (GET info/refs); else the exchange itself (POST). */
export type Address = { app: string; service: Service; discovery: boolean }
/** `app` null: there is none yet, and the caller may create it by pushing. */
export type Access = { caller: Caller; app: App | null }

const address = /^\/([A-Za-z0-9._-]{1,100})\.git\/(info\/refs\?service=)?(git-(?:upload|receive)-pack)$/
const oldProtocol =
  /^\/[A-Za-z0-9._-]{1,100}\/(HEAD|info\/refs|objects\/[A-Za-z0-9/.-]*|config)(\?service=git-(upload|receive)-pack)?$/

/**
 * Reads the raw request target, never a parsed URL: what is authorised must be what is opened. Throws REQUEST_INVALID,
 * APP_NAME_ILLEGAL, APP_NOT_FOUND (the paths of git's older protocol, and an address without `.git`).
 */
export function readAddress(rawUrl: string): Address {
  const match = address.exec(rawUrl)
  if (match) {
    return { app: parseSlug(match[1] ?? ''), service: match[3] as Service, discovery: match[2] !== undefined }
  }
  if (oldProtocol.test(rawUrl)) {
    throw new AppError(
      'APP_NOT_FOUND',
      'There is no repository here. The address of an app ends in .git, as in /hello.git',
    )
  }
  throw new AppError('REQUEST_INVALID', 'This is the git door of Atelier; it takes clone, fetch and push of /<app>.git')
}

/**
 * Who asks, and for which app: on every request, before anything else happens. Throws UNAUTHENTICATED, APP_NOT_FOUND (also for an app
 * this token may not see), FORBIDDEN, DATABASE_UNAVAILABLE.
 */
export async function authorize(
  { headers }: Pick<IncomingMessage, 'headers'>,
  { app: slug, service }: Address,
  { sql, identify = authenticate }: { sql: Db; identify?: typeof authenticate },
): Promise<Access> {
  const secret = readPassword(headers.authorization)
  if (secret === null) {
    throw new AppError('UNAUTHENTICATED', 'Atelier needs a token: any user name, and the token as the password.')
  }
  const caller = await answerOfDatabase(identify(sql, secret))
  if (!caller) {
    throw new AppError(
      'UNAUTHENTICATED',
      'This token is not known here, or it has expired; get another (atelier tokens create, atelier login) and then: atelier link',
    )
  }

  const app = await answerOfDatabase(findApp(sql, slug))
  const isPush = service === 'git-receive-pack'
  if (app && may(caller, isPush ? 'deploy' : 'read', app.id)) return { caller, app }
  if (app && may(caller, 'read', app.id)) {
    throw new AppError(
      'FORBIDDEN',
      refusalOf(caller, 'deploy', app.id, (other) => may(other, 'deploy', app.id)),
    )
  }
  if (!app && isPush && may(caller, 'create', null)) return { caller, app: null }
  throw new AppError('APP_NOT_FOUND', `There is no app ${slug}, or this token may not see it.`)
}

/** The password of Basic credentials; the user name says nothing. */
export function readPassword(header: string | undefined): string | null {
  const match = /^Basic +([A-Za-z0-9+/]{1,1000}={0,2})$/i.exec(header ?? '')
  if (!match?.[1]) return null
  const credentials = Buffer.from(match[1], 'base64').toString('utf8')
  const colon = credentials.indexOf(':')
  return colon === -1 || colon === credentials.length - 1 ? null : credentials.slice(colon + 1)
}
