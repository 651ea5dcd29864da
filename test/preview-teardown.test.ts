import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { BuildCaches } from '../build-workers/build-caches.ts'
import { FileStore } from '../registry/bundle-store/file.ts'
import { readConfig } from '../registry/config.ts'
import { createLog } from '../registry/log.ts'
import { collectDeletedApps, pruneBuilds } from '../registry/retention.ts'
import type { Sql } from '../registry/sql.ts'
import { type Atelier, test } from './support/atelier.ts'
import { linked } from './support/linked-app.ts'
import { connectToHome } from './support/platform-database.ts'
import { everyPlace, type KnownPreview, knowPreview, tracesOf } from './support/preview-traces.ts'

const soon = { timeout: 180_000, interval: 200 }
const app = 'torn'

test.override('platformEnv', {
  ATELIER_OUTBOUND_ALLOW: '127.0.0.31/32,127.0.0.32/32',
  ATELIER_RECONCILE_SEC: '1',
  ATELIER_REPO_POLL_SEC: '3600',
})

// A process with a file for browsers, a folder, a database and what its build keeps.
const filesOf = (text: string) => ({
  'package.json': JSON.stringify({ name: 'torn', type: 'module', main: 'index.js' }),
  'atelier.config.json': JSON.stringify({ build: { client: 'client.js' }, data: true, database: { provision: true } }),
  'client.js': `console.log(${JSON.stringify(text)})`,
  'index.js': `import { writeFileSync } from 'node:fs'
writeFileSync(process.env.DATA_DIR + '/kept', 'x')
export default { fetch: () => new Response(${JSON.stringify(text)}) }`,
})

test('whichever way a preview ends, everything of it goes, and nothing of the others', async ({ atelier }) => {
  const { forge, hook, shown } = await linked(atelier, 'gitea', app, '--forks', 'approve')
  const sql = await connectToHome(atelier.home)
  onTestFinished(() => sql.end())
  const repo = await atelier.clone(app)
  const command = async (...args: string[]) =>
    expect(await atelier.cli([...args, '-a', app])).toMatchObject({ code: 0 })
  const push = async (branch: string, text: string) => {
    await repo.commit(filesOf(text))
    await repo.git('push', 'atelier', `HEAD:refs/heads/${branch}`)
  }
  const older = (branch: string, hours: number) => sql`
    update deployments
    set created_at = now() - make_interval(hours => ${hours})
    where app_id = ${app}
      and branch = ${branch}
  `

  const ways: Record<string, (branch: string, number: number) => Promise<unknown>> = {
    'its pull request was closed': async (_, number) => {
      forge.close(number)
      await forge.tell(hook, 'closed', number)
    },
    'it was closed, and no webhook told of it': async (_, number) => {
      forge.close(number)
      await sql`update repo_links set poll_after = now() where app_id = ${app}`
    },
    'nothing was deployed to it for too long': (branch) => older(branch, 15 * 24),
    'the app has too many': async (branch) => {
      await older(branch, 1)
      const [{ count } = { count: 0 }] = await sql<{ count: number }[]>`
        select count(*)::integer from routes where app_id = ${app} and environment = 'preview'
      `
      await command('previews', 'set', '--most', String(count - 1))
    },
    'somebody removed it': (_, number) => command('previews', 'rm', String(number)),
    "a commit of the app's own took its place": (branch) => push(branch, 'own of 6'),
    'the repository was unlinked': () => command('repo', 'unlink'),
  }
  const names = Object.keys(ways)
  for (const [index, way] of names.entries()) {
    const sha = await forge.propose(index + 1, filesOf(way), { from: 'mallory/hello' })
    await forge.tell(hook, 'opened', index + 1)
    await expect.poll(() => forge.commentsOf(index + 1).join(), soon).toContain(sha)
    await command('previews', 'approve', String(index + 1), sha)
  }
  await push('feature', 'feature')
  await push('another', 'another')

  const left = new Map<string, KnownPreview>()
  for (const [branch, text] of [
    ...names.map((way, index): [string, string] => [`pr/${index + 1}`, way]),
    ['feature', 'feature'] as const,
    ['another', 'another'] as const,
  ]) {
    const label = branch.startsWith('pr/') ? `${app}-${branch.replace('/', '-')}` : `${app}-git-${branch}`
    await expect.poll(() => shown(label), soon).toBe(text)
    left.set(branch, await knowPreview(sql, { app, branch }))
  }
  const gone = async (branch: string, why: string) => {
    const preview = left.get(branch)
    if (!preview) throw new Error(branch)
    left.delete(branch)
    await expect
      .poll(async () => {
        await tidy(atelier, sql)
        return tracesOf(preview, { atelier, sql })
      }, soon)
      .toEqual({})
    for (const other of left.values()) expect(await placesOf(other, { atelier, sql }), why).toEqual(kept(other))
  }

  for (const one of left.values()) await expect.poll(() => placesOf(one, { atelier, sql }), soon).toEqual(kept(one))
  for (const [index, why] of names.entries()) {
    await ways[why]?.(`pr/${index + 1}`, index + 1)
    await gone(`pr/${index + 1}`, why)
  }
  await repo.git('push', 'atelier', '--delete', 'feature')
  await gone('feature', 'its branch was deleted')
  expect(await atelier.cli(['apps', 'rm', app, '--yes'])).toMatchObject({ code: 0 })
  await gone('another', 'its app was removed')
})

// All there are, for a preview that runs; its head is no trace while its pull request is open.
function kept({ isFork }: KnownPreview): string[] {
  return everyPlace.filter(
    (place) => isFork || (place !== 'caches of its builds' && place !== 'head of its pull request, to be deployed'),
  )
}

async function placesOf(preview: KnownPreview, look: { atelier: Atelier; sql: Sql }): Promise<string[]> {
  return Object.keys(await tracesOf(preview, look))
}

// What the platform does every ten minutes, now, with what is old enough.
async function tidy({ home }: Atelier, sql: Sql): Promise<void> {
  const log = createLog('test').child({}, { level: 'silent' })
  await sql`update builds set created_at = now() - interval '1 hour' where app_id = ${app}`
  await sql`update blob_refs set at = now() - interval '2 days' where app_id = ${app}`
  const store = new FileStore(join(home, 'store'))
  await pruneBuilds(sql, store)
  await collectDeletedApps(sql, store)
  await new BuildCaches({ config: readConfig({ ATELIER_HOME: home }), sql, log }).trim()
}
