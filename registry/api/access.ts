import { findApp, parseSlug } from '../apps.ts'
import { answerOfDatabase } from '../deadline.ts'
import { findDeployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import { refusalOf } from '../refusals.ts'
import { type Caller, may, mayAnywhere, mayToOwn } from '../rights.ts'
import { authenticate } from '../tokens.ts'
import type { ApiDeps, Subject } from './call.ts'
import type { Policy } from './route.ts'

/** The caller the bearer token belongs to. Throws UNAUTHENTICATED, the same for a token that is missing, malformed, unknown or expired. */
export async function identify(request: Request, { sql }: Pick<ApiDeps, 'sql'>): Promise<Caller> {
  const [, secret] = /^Bearer ([A-Za-z0-9_-]{1,200})$/i.exec(request.headers.get('authorization') ?? '') ?? []
  const caller = secret ? await answerOfDatabase(authenticate(sql, secret)) : null
  if (!caller) throw new AppError('UNAUTHENTICATED', 'a valid token is needed: authorization: Bearer <token>')
  return caller
}

/**
 * The one gate: finds what the request is about and lets it through only when the caller may. What the caller may not even see is
 * answered like what does not exist. Throws FORBIDDEN, APP_NOT_FOUND,
 * APP_NAME_ILLEGAL, DEPLOYMENT_NOT_FOUND.
 */
export async function authorise(
  policy: Policy,
  subjectName: string | null,
  caller: Caller,
  { sql }: Pick<ApiDeps, 'sql'>,
): Promise<Subject> {
  const nothing: Subject = { app: null, deployment: null }
  if (policy.on === 'platform' || policy.on === 'own' || (policy.on === 'query?' && subjectName === null))
    return permit(caller, policy, nothing)
  if (subjectName === null) throw new AppError('REQUEST_INVALID', 'the request does not say which app it is about')

  if (policy.on === 'deployment') {
    const deployment = await answerOfDatabase(findDeployment(sql, subjectName))
    if (!deployment || !may(caller, 'read', deployment.appId))
      throw new AppError('DEPLOYMENT_NOT_FOUND', `there is no deployment ${subjectName}; see: atelier deploys`)
    return permit(caller, policy, { ...nothing, deployment })
  }

  const app = await answerOfDatabase(findApp(sql, subjectName))
  if (app && may(caller, 'read', app.id)) return permit(caller, policy, { ...nothing, app })
  if (!app && policy.createsApp && may(caller, 'create', null) && parseSlug(subjectName)) return nothing
  throw new AppError('APP_NOT_FOUND', `there is no app ${subjectName}; see: atelier apps`)
}

/** Whether the caller may still do to the subject what the policy says: asked again while an answer is streamed. */
export function isPermitted(caller: Caller, { action, on }: Policy, subject: Subject): boolean {
  const app = appOf(subject)
  if (app !== null) return may(caller, action, app)
  if (on === 'own') return mayToOwn(caller, action)
  return on === 'query?' ? mayAnywhere(caller, action) : may(caller, on === 'platform' ? action : 'create', null)
}

/** The app a request is about, through its deployment or by itself; null: none, or one that is yet to be created. */
export function appOf({ app, deployment }: Subject): string | null {
  return app?.id ?? deployment?.appId ?? null
}

function permit(caller: Caller, policy: Policy, subject: Subject): Subject {
  if (isPermitted(caller, policy, subject)) return subject
  const permits = (other: Caller) => isPermitted(other, policy, subject)
  throw new AppError('FORBIDDEN', refusalOf(caller, policy.action, appOf(subject), permits))
}
