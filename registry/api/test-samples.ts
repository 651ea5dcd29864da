// How each route is asked, for tests that ask them all: APP in a query is the app, `{id}` in a path the deployment, but where `id` says another.

export type Sample = {
  /** What a caller must be allowed, said here a second time on purpose: a slip in the table shows. */
  needs: 'read' | 'deploy' | 'create' | 'admin'
  /** To what; default: to the app. `own`: what is the caller's own. */
  of?: 'platform' | 'own'
  id?: string
  query?: string
  json?: (app: string) => unknown
  body?: Buffer
}

/** By method and path. A route without a sample fails the tests. */
export const samples: Record<string, Sample> = {
  'post /apps': { needs: 'create', of: 'platform', json: (app) => ({ name: `new-${app}` }) },
  'get /apps': { needs: 'read', of: 'own' },
  'get /apps/{app}': { needs: 'read' },
  'delete /apps/{app}': { needs: 'admin' },
  'post /deploy': { needs: 'deploy', query: 'app=APP', body: Buffer.from('no archive') },
  'post /redeploy': { needs: 'deploy', json: (app) => ({ app_id: app, follow: false }) },
  'post /rollback': { needs: 'deploy', json: (app) => ({ app_id: app, version: '1.0.0' }) },
  'post /promote': { needs: 'deploy', json: (app) => ({ app_id: app, to: '1.0.0' }) },
  'get /apps/{app}/rollout': { needs: 'read' },
  'post /pause': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'post /resume': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'post /abort': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'post /lock': { needs: 'deploy', json: (app) => ({ app_id: app, message: 'migrating' }) },
  'post /unlock': { needs: 'deploy', json: (app) => ({ app_id: app }) },
  'get /deploys': { needs: 'read', query: 'app=APP' },
  'get /deployments/{id}': { needs: 'read' },
  'get /deployments/{id}/events': { needs: 'read' },
  'get /deployments/{id}/logs': { needs: 'read' },
  'post /deployments/{id}/cancel': { needs: 'deploy' },
  'get /apps/{app}/diff': { needs: 'read', query: 'from=1.0.0&to=v2' },
  'get /apps/{app}/routes': { needs: 'read' },
  'post /apps/{app}/purge': { needs: 'deploy', json: () => ({ all: true }) },
  'get /apps/{app}/logs': { needs: 'read' },
  'post /apps/{app}/runs': { needs: 'deploy', json: () => ({ command: ['true'] }) },
  'get /apps/{app}/runs': { needs: 'deploy' },
  'post /apps/{app}/runs/{run}/input': { needs: 'deploy', json: () => ({ seq: 0, data: '' }) },
  'post /apps/{app}/runs/{run}/end': { needs: 'deploy', json: () => ({}) },
  'get /apps/{app}/env': { needs: 'read' },
  'get /apps/{app}/databases': { needs: 'read' },
  'delete /apps/{app}/build-caches': { needs: 'deploy' },
  'get /apps/{app}/domains': { needs: 'read' },
  'post /apps/{app}/domains': { needs: 'admin', json: (app) => ({ host: `${app}.example.org` }) },
  'delete /apps/{app}/domains/{host}': { needs: 'admin' },
  'put /apps/{app}/env': { needs: 'deploy', json: () => ({ values: { A: '1' } }) },
  'delete /apps/{app}/env': { needs: 'deploy', query: 'names=A' },
  'get /apps/{app}/members': { needs: 'read' },
  'put /apps/{app}/members/{person}': { needs: 'admin', json: () => ({ role: 'viewer' }) },
  'delete /apps/{app}/members/{person}': { needs: 'admin' },
  'get /people': { needs: 'admin', of: 'platform' },
  'post /people': {
    needs: 'admin',
    of: 'platform',
    json: (app) => ({ name: `new-${app}`, roles: { [app]: 'viewer' } }),
  },
  'post /people/{person}/links': { needs: 'admin', of: 'platform' },
  'put /people/{person}': { needs: 'admin', of: 'platform', json: () => ({ platform_role: 'guest' }) },
  'delete /people/{person}': { needs: 'admin', of: 'platform' },
  'delete /people/{person}/sessions': { needs: 'admin', of: 'platform' },
  'delete /people/{person}/tokens': { needs: 'admin', of: 'platform' },
  'post /password': { needs: 'admin', of: 'own', json: () => ({ current: 'x', password: 'too short' }) },
  'get /audit': { needs: 'admin', query: 'app=APP' },
  'get /tokens': { needs: 'admin', of: 'own' },
  'post /tokens': { needs: 'admin', of: 'own', json: () => ({ name: 'ci', scope: 'read' }) },
  'delete /tokens': { needs: 'admin', of: 'own' },
  'delete /tokens/{id}': { needs: 'admin', of: 'own', id: 'nosuchtoken' },
  'post /console-links': { needs: 'read', of: 'own' },
  'get /status': { needs: 'read', query: 'app=APP' },
  'get /whoami': { needs: 'read', of: 'own' },
  'get /apps/{app}/repo': { needs: 'read' },
  'put /apps/{app}/repo': { needs: 'deploy', json: () => ({ host: 'github', url: 'https://github.com/ada/hello' }) },
  'delete /apps/{app}/repo': { needs: 'deploy' },
  'get /apps/{app}/previews': { needs: 'read' },
  'delete /apps/{app}/previews': { needs: 'deploy', query: 'branch=pr/1' },
  'post /apps/{app}/previews/approve': { needs: 'deploy', json: () => ({ number: 1, sha: 'a'.repeat(40) }) },
  'put /apps/{app}/previews/settings': { needs: 'deploy', json: () => ({ most: 3 }) },
  ...ofWebhooks('/apps/{app}/webhooks', { look: { needs: 'read' }, change: { needs: 'deploy' } }),
  ...ofWebhooks('/webhooks', { look: { needs: 'admin', of: 'platform' }, change: { needs: 'admin', of: 'platform' } }),
}

function ofWebhooks(below: string, { look, change }: Record<'look' | 'change', Sample>): Record<string, Sample> {
  const one = `${below}/{webhook}`
  return {
    [`get ${below}`]: look,
    [`post ${below}`]: { ...change, json: () => ({ url: 'https://receiver.example/hook' }) },
    [`get ${one}`]: look,
    [`delete ${one}`]: change,
    [`post ${one}/rotate`]: { ...change, json: () => ({}) },
    [`post ${one}/enable`]: change,
    [`post ${one}/test`]: change,
    [`get ${one}/deliveries`]: look,
    [`get ${one}/deliveries/{delivery}`]: look,
    [`post ${one}/deliveries/{delivery}/redeliver`]: change,
  }
}
