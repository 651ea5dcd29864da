/** Deeds that are no request of the API. */
const otherDeeds = {
  'git push': 'push with git',
  'sign in': 'sign in',
  'sign out': 'sign out',
  'choose password': 'choose password',
  'webhook push': 'webhook: push',
  'webhook pull request opened': 'webhook: pull request opened',
  'webhook pull request closed': 'webhook: pull request closed',
} as const

/** What the audit log calls a deed: a route of the API, or one of the others. */
export type DeedName = `${'POST' | 'PUT' | 'DELETE' | 'GET'} /${string}` | keyof typeof otherDeeds

/** What people read of a deed in the audit log. Every route that changes something stands here (api/deed-words.test.ts). */
export const deedWords: Record<string, string> = {
  ...otherDeeds,
  'POST /apps': 'create app',
  'DELETE /apps/{app}': 'delete app',
  'POST /deploy': 'deploy',
  'POST /redeploy': 'redeploy',
  'POST /rollback': 'roll back',
  'POST /promote': 'promote',
  'POST /pause': 'pause rollout',
  'POST /resume': 'resume rollout',
  'POST /abort': 'abort rollout',
  'POST /lock': 'lock',
  'POST /unlock': 'unlock',
  'POST /deployments/{id}/cancel': 'cancel deployment',
  'POST /apps/{app}/purge': 'purge cache',
  'POST /apps/{app}/runs': 'run',
  'POST /apps/{app}/runs/{run}/end': 'end run',
  'PUT /apps/{app}/repo': 'link repository',
  'DELETE /apps/{app}/repo': 'unlink repository',
  'DELETE /apps/{app}/previews': 'remove preview',
  'POST /apps/{app}/previews/approve': 'approve commit of fork',
  'PUT /apps/{app}/previews/settings': 'set how previews are kept',
  'DELETE /apps/{app}/build-caches': 'clear build caches',
  'POST /apps/{app}/domains': 'add domain',
  'DELETE /apps/{app}/domains/{host}': 'remove domain',
  'PUT /apps/{app}/env': 'set variables',
  'DELETE /apps/{app}/env': 'remove variables',
  'PUT /apps/{app}/members/{person}': 'set member',
  'DELETE /apps/{app}/members/{person}': 'remove member',
  'POST /people': 'invite person',
  'POST /people/{person}/links': 'make password link',
  'PUT /people/{person}': 'set role on the platform',
  'DELETE /people/{person}': 'remove person',
  'DELETE /people/{person}/sessions': 'sign person out',
  'DELETE /people/{person}/tokens': 'delete all tokens of person',
  'POST /password': 'change password',
  'POST /tokens': 'create token',
  'DELETE /tokens/{id}': 'delete token',
  'DELETE /tokens': 'delete all own tokens',
  'POST /console-links': 'make sign-in link',
  ...ofWebhooks('/apps/{app}', 'webhook'),
  ...ofWebhooks('', 'webhook of the platform'),
}

/** A deed in words; one whose route is gone since it was done, as it was written down. */
export function wordsOfDeed(action: string): string {
  return Object.hasOwn(deedWords, action) ? (deedWords[action] ?? action) : action
}

function ofWebhooks(above: string, name: string): Record<string, string> {
  const one = `${above}/webhooks/{webhook}`
  return {
    [`POST ${above}/webhooks`]: `create ${name}`,
    [`DELETE ${one}`]: `delete ${name}`,
    [`POST ${one}/rotate`]: `renew secret of ${name}`,
    [`POST ${one}/enable`]: `enable ${name}`,
    [`POST ${one}/test`]: `test ${name}`,
    [`POST ${one}/deliveries/{delivery}/redeliver`]: `send again to ${name}`,
  }
}
