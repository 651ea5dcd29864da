export type Fault = 'user' | 'platform'

type ErrorKind = { status: number; fault: Fault; summary: string }

// One line a code: HTTP status (turned into a response only by the doors that answer errors: registry/api and the git gateway), whose fault it is,
// and its sentence.
// A user's fault is shown and not retried; the platform's is logged and retried.
export const ERRORS = {
  // apps, names, versions
  APP_NAME_ILLEGAL: { status: 400, fault: 'user', summary: 'the app name is not allowed' },
  APP_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such app, or this token may not see it' },
  NAME_TAKEN: { status: 409, fault: 'user', summary: 'the name is taken' },
  VERSION_ILLEGAL: {
    status: 400,
    fault: 'user',
    summary: 'the version is not a git SHA, a timestamp or a release number',
  },
  VERSION_NOT_FOUND: { status: 404, fault: 'user', summary: 'no kept version has that name' },
  VERSION_PRUNED: { status: 410, fault: 'user', summary: 'that version is no longer kept' },
  DEPLOYMENT_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such deployment' },
  DEPLOYMENT_STATE: { status: 409, fault: 'user', summary: 'the deployment is not in a state that allows this' },
  NO_ROLLOUT: { status: 409, fault: 'user', summary: 'no rollout is under way' },
  ROLLOUT_OTHER: { status: 409, fault: 'user', summary: 'the rollout under way is that of another version' },
  ALREADY_BACK: { status: 409, fault: 'user', summary: 'the newest version was taken back already' },
  APP_LOCKED: { status: 423, fault: 'user', summary: 'somebody has locked the app' },
  APP_HELD: { status: 423, fault: 'user', summary: 'automatic deployments wait since a version was taken back' },
  DOMAIN_ILLEGAL: { status: 400, fault: 'user', summary: 'that is no host name an app can have' },
  DOMAIN_NOT_FOUND: { status: 404, fault: 'user', summary: 'the app has no such domain' },
  BRANCH_ILLEGAL: { status: 400, fault: 'user', summary: 'the branch name is not allowed' },
  ENV_NAME_ILLEGAL: { status: 400, fault: 'user', summary: 'the environment variable name is not allowed' },
  ENV_TOO_LARGE: { status: 413, fault: 'user', summary: 'the environment is too large' },
  // access
  UNAUTHENTICATED: { status: 401, fault: 'user', summary: 'a valid token is needed' },
  FORBIDDEN: { status: 403, fault: 'user', summary: 'this token may not do that' },
  PERSON_NAME_ILLEGAL: { status: 400, fault: 'user', summary: 'the name of the person is not allowed' },
  PERSON_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such person' },
  MEMBER_NOT_FOUND: { status: 404, fault: 'user', summary: 'the person has no role on the app' },
  LAST_OWNER: { status: 409, fault: 'user', summary: 'the app would be left without an owner' },
  LAST_ADMIN: { status: 409, fault: 'user', summary: 'the platform would be left without an admin' },
  PASSWORD_WEAK: { status: 400, fault: 'user', summary: 'the password is too easily guessed' },
  PASSWORD_WRONG: { status: 403, fault: 'user', summary: 'that is not the password' },
  SIGN_IN_LIMIT: { status: 429, fault: 'user', summary: 'too many passwords were tried' },
  TOKEN_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such token' },
  // requests
  ROUTE_NOT_FOUND: { status: 404, fault: 'user', summary: 'the API has no such address' },
  HOST_UNKNOWN: { status: 421, fault: 'user', summary: 'the platform does not answer to that host name' },
  ORIGIN_FOREIGN: { status: 403, fault: 'user', summary: 'the request came from another site' },
  REQUEST_INVALID: { status: 400, fault: 'user', summary: 'the request is not valid' },
  REPEAT_OTHER: { status: 422, fault: 'user', summary: 'the Idempotency-Key was used for another request' },
  REPEAT_BUSY: { status: 409, fault: 'user', summary: 'the first request with that Idempotency-Key is under way' },
  RATE_LIMITED: { status: 429, fault: 'user', summary: 'too many requests in a short time' },
  REQUEST_TOO_LARGE: { status: 413, fault: 'user', summary: 'the request is too large' },
  // what the platform calls
  WEBHOOK_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such webhook' },
  WEBHOOK_TOO_MANY: { status: 409, fault: 'user', summary: 'there are as many webhooks as there may be' },
  WEBHOOK_DISABLED: { status: 409, fault: 'user', summary: 'the webhook is disabled' },
  DELIVERY_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such delivery' },
  OUTBOUND_REFUSED: { status: 403, fault: 'user', summary: 'the platform does not call that address' },
  OUTBOUND_FAILED: { status: 502, fault: 'user', summary: 'what the platform called did not answer properly' },
  // webhooks in, linked repositories, previews
  HOOK_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such hook' },
  HOOK_REFUSED: {
    status: 401,
    fault: 'user',
    summary: 'the webhook is not signed as it should be, or was taken before',
  },
  REPO_NOT_LINKED: { status: 404, fault: 'user', summary: 'the app is linked to no repository' },
  PREVIEW_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such preview' },
  FORK_UNTRUSTED: { status: 403, fault: 'user', summary: 'what comes from a fork may not do that' },
  SERVER_BUSY: { status: 503, fault: 'user', summary: 'too much is asked at once; try again' },
  // source, build
  FETCH_FAILED: { status: 400, fault: 'user', summary: 'the source could not be fetched from its git host' },
  SOURCE_INVALID: { status: 400, fault: 'user', summary: 'the source cannot be unpacked' },
  CONFIG_INVALID: { status: 400, fault: 'user', summary: 'atelier.config.ts is not valid' },
  FRAMEWORK_UNKNOWN: { status: 400, fault: 'user', summary: 'no kind of app was recognised' },
  ENTRY_NOT_FOUND: { status: 400, fault: 'user', summary: 'the entry file is missing' },
  INSTALL_FAILED: { status: 400, fault: 'user', summary: 'installing dependencies failed' },
  BUILD_FAILED: { status: 400, fault: 'user', summary: 'the build failed' },
  BUILD_LIMIT: { status: 400, fault: 'user', summary: 'the build went over a limit' },
  BUILD_CANCELLED: { status: 409, fault: 'user', summary: 'the build was cancelled' },
  OUTPUT_INVALID: { status: 400, fault: 'user', summary: 'the build output holds something that cannot be published' },
  APP_CRASHED: { status: 400, fault: 'user', summary: 'the app crashed' },
  APP_NOT_LISTENING: { status: 400, fault: 'user', summary: 'the app did not listen' },
  APP_UNHEALTHY: { status: 400, fault: 'user', summary: 'the app did not answer its health check' },
  ROUTE_UNHEALTHY: { status: 400, fault: 'user', summary: 'a route failed before the version had users' },
  ROLLED_BACK: { status: 409, fault: 'user', summary: 'the new version did worse than the old one and was taken back' },
  MIGRATION_FAILED: { status: 400, fault: 'user', summary: 'a migration failed' },
  RELEASE_FAILED: { status: 400, fault: 'user', summary: 'the release command failed' },
  PROVISION_FAILED: { status: 400, fault: 'user', summary: 'no database could be made for the app' },
  PRERENDER_FAILED: { status: 400, fault: 'user', summary: 'a page could not be prerendered' },
  RUN_IMPOSSIBLE: { status: 409, fault: 'user', summary: 'there is nothing on the server that a command could run in' },
  RUN_NOT_FOUND: { status: 404, fault: 'user', summary: 'there is no such command' },
  RUN_ENDED: { status: 409, fault: 'user', summary: 'the command has ended' },
  RUNS_TOO_MANY: { status: 429, fault: 'user', summary: 'too many commands of the app run already' },
  HOOK_FAILED: { status: 400, fault: 'user', summary: 'a hook failed' },
  // platform
  CONFIG_ENV: { status: 500, fault: 'platform', summary: 'an ATELIER_ setting is not valid' },
  STORE_CORRUPT: { status: 500, fault: 'platform', summary: 'stored bytes do not match their digest' },
  STORE_UNAVAILABLE: { status: 503, fault: 'platform', summary: 'the bundle store does not answer' },
  DATABASE_UNAVAILABLE: { status: 503, fault: 'platform', summary: 'the database does not answer' },
  NO_EDGE: { status: 503, fault: 'platform', summary: 'no edge is running' },
  RUN_LOST: { status: 503, fault: 'platform', summary: 'the machine that ran the command is gone' },
  SANDBOX_FAILED: { status: 500, fault: 'platform', summary: 'the sandbox did not start' },
  ISOLATION_WEAK: { status: 503, fault: 'platform', summary: 'apps and builds cannot be walled off well enough here' },
  HOME_UNUSABLE: { status: 500, fault: 'user', summary: 'the home directory cannot be used' },
  HOME_IN_USE: { status: 409, fault: 'user', summary: 'another instance uses this home directory' },
  PORT_IN_USE: { status: 409, fault: 'user', summary: 'the port is taken' },
  INTERNAL: { status: 500, fault: 'platform', summary: 'something broke inside Atelier' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERRORS

/** An error with a code of the table above; `message` says what happened, to what, and what to do next. */
export class AppError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'AppError'
    this.code = code
  }

  get fault(): Fault {
    return ERRORS[this.code].fault
  }
}

/** Anything thrown, as an AppError: unknown errors become INTERNAL and keep their cause. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  return new AppError('INTERNAL', messageOf(thrown), { cause: thrown })
}

export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The `code` of a system or Postgres error (`ENOENT`, `23505`), else undefined. */
export function codeOf(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}
