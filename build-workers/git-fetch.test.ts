import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { targetOfBranch } from '../registry/branches.ts'
import { createDeployment, type Deployment, findDeployment } from '../registry/deployments.ts'
import { keepOrigin, parseGitOrigin } from '../registry/git-origins.ts'
import { timestampVersion } from '../registry/version.ts'
import { TestWorker } from '../test/support/build-worker.ts'
import { GitHost } from '../test/support/git-host.ts'

const host = await GitHost.start()
const closed = await GitHost.start({ at: '127.0.0.4', token: 'ghp_very_secret_token' })
const worker = await TestWorker.start({
  ATELIER_OUTBOUND_ALLOW: `${host.address},${closed.address}`,
  ATELIER_FETCH_TIMEOUT_SEC: '20',
})
let app: string
beforeAll(async () => {
  app = await worker.createApp()
})
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  await host[Symbol.asyncDispose]()
  await closed[Symbol.asyncDispose]()
})

type Wanted = { url: string; ref?: string; sha?: string; token?: string; version?: string; branch?: string }

async function wants({ url, ref, sha, token, version, branch = 'main' }: Wanted): Promise<Deployment> {
  const { sql, key } = worker.deps
  return createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
    version: version ?? sha ?? timestampVersion(),
    source: 'git',
    by: 'test',
    gitOrigin: keepOrigin(parseGitOrigin({ url, ref: ref ?? null, sha: sha ?? null }), {
      app,
      token: token ?? null,
      key,
    }),
    options: { canary: 'skip' },
  })
}

const deploy = async (wanted: Wanted) => worker.build(await wants(wanted))

describe('a deployment of a git address', () => {
  test('is fetched by a worker, called by its SHA, and built', async () => {
    const sha = await host.commit(
      'site',
      { 'index.html': 'fetched', '.gitattributes': '* export-ignore\n' },
      { subject: 'first' },
    )
    const { deployment, log, manifest } = await deploy({ url: host.url('site'), ref: 'main' })
    expect(deployment).toMatchObject({ state: 'live', version: sha, gitSha: sha, subject: 'first' })
    expect(deployment.sourceKey).toBe(`sources/${app}/${sha}.tar.zst`)
    expect(log.join('\n')).toContain(`Fetching    ${host.url('site')} main`)
    expect(log.join('\n')).toContain(`${app} ${sha.slice(0, 7)} · Static files`)
    expect(manifest?.files.map(({ path }) => path)).toContain('index.html')
    const again = await deploy({ url: host.url('site') })
    expect(again.log.join('\n')).toContain('built before, nothing to build')
  })

  test('may be that of a pull request, and is the commit that was named also when the branch has moved on', async () => {
    const named = await host.commit('pulled', { 'index.html': 'one' }, { branch: 'refs/pull/42/head' })
    expect(
      (await deploy({ url: host.url('pulled'), ref: 'refs/pull/42/head', sha: named, branch: 'pr/42' })).deployment,
    ).toMatchObject({ state: 'live', version: named, environment: 'preview' })
    const older = await host.commit('pulled', { 'index.html': 'two' }, { branch: 'refs/pull/42/head' })
    await host.commit('pulled', { 'index.html': 'three' }, { branch: 'refs/pull/42/head' })
    await host.commit('pulled', { 'index.html': 'two' }, { branch: 'main' })
    const { deployment } = await deploy({
      url: host.url('pulled'),
      ref: 'refs/pull/42/head',
      sha: older,
      branch: 'pr/42',
    })
    expect(deployment).toMatchObject({ state: 'live', version: older })
  })

  test('of a private repository sends its token there, and it is in no row, log or argument afterwards', async () => {
    const sha = await closed.commit('private', { 'index.html': 'private' })
    const without = await deploy({ url: closed.url('private') })
    expect(without.deployment).toMatchObject({ state: 'failed', errorCode: 'FETCH_FAILED' })
    expect(without.deployment.stateReason).toContain('it wants a token')
    expect(without.log.join('\n')).not.toContain('a page of the host')

    const wanted = await wants({ url: closed.url('private'), token: 'ghp_very_secret_token' })
    expect(wanted.gitOrigin?.token).toBeDefined()
    const { deployment, log } = await worker.build(wanted)
    expect(deployment).toMatchObject({ state: 'live', version: sha })
    expect(JSON.stringify([await findDeployment(worker.deps.sql, deployment.id), log])).not.toMatch(/ghp_very|token/)
    expect(closed.asked.some(({ authorization }) => authorization !== null)).toBe(true)
  })

  test('fails with a sentence when there is no such branch or repository', async () => {
    expect((await deploy({ url: host.url('site'), ref: 'nowhere' })).deployment.stateReason).toContain(
      'it has no branch, tag or commit nowhere',
    )
    const { deployment } = await deploy({ url: host.url('nothing') })
    expect(deployment).toMatchObject({
      state: 'failed',
      errorCode: 'FETCH_FAILED',
      gitOrigin: { url: host.url('nothing') },
    })
    expect(deployment.stateReason).toContain('no such repository')
  })

  test('W2: reaches no private address that is not allowed, by redirect neither, and the host there is not asked', async () => {
    const asked: string[] = []
    const inside = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.end('of the inside')
    })
    await new Promise<void>((listening) => inside.listen(0, '127.0.0.1', () => listening()))
    const { port } = inside.address() as AddressInfo
    for (const name of ['127.0.0.1', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '169.254.169.254']) {
      const { deployment } = await deploy({ url: `http://${name}:${port}/x.git` })
      expect(deployment).toMatchObject({ state: 'failed', errorCode: 'FETCH_FAILED' })
      expect(deployment.stateReason).toContain('ATELIER_OUTBOUND_ALLOW')
    }
    host.instead = (_, response) => {
      response.writeHead(302, { location: `http://127.0.0.1:${port}/x.git/info/refs?service=git-upload-pack` }).end()
      return true
    }
    const { deployment } = await deploy({ url: host.url('site') })
    host.instead = () => false
    expect(deployment).toMatchObject({ state: 'failed', errorCode: 'FETCH_FAILED' })
    expect(deployment.stateReason).not.toContain('of the inside')
    expect(asked).toEqual([])
    inside.close()
  })

  test('G10: takes no submodules, and runs nothing that the repository brings', async () => {
    await host.commit('inner', { 'secret.txt': 'inner' })
    await host.commit('outer', {
      'index.html': 'outer',
      '.gitmodules': `[submodule "x"]\n\tpath = x\n\turl = ${host.url('inner')}\n`,
    })
    const before = host.asked.length
    expect((await deploy({ url: host.url('outer') })).deployment.state).toBe('live')
    expect(host.asked.slice(before).filter(({ url }) => url.includes('inner'))).toEqual([])
  })
})

// Smart HTTP as git has it: a service line, then refs in lines that begin with their length.
const refs = '001e# service=git-upload-pack\n0000'
const advertised = { 'content-type': 'application/x-git-upload-pack-advertisement' }
const pack = { 'content-type': 'application/x-git-upload-pack-result' }
const line = (text: string) => `${(text.length + 5).toString(16).padStart(4, '0')}${text}\n`

describe('a git host that answers', () => {
  const isRefs = ({ url = '' }: IncomingMessage) => url.includes('/info/refs')
  const wrongly: Record<string, GitHost['instead']> = {
    'with a page': (_, response) => !!response.end('<!doctype html><title>Sign in</title>'),
    'with 500': (_, response) => !!response.writeHead(500).end('no'),
    'with half a list of refs': (_, response) =>
      !!response.writeHead(200, advertised).end(`${refs}00ff${'a'.repeat(40)}`),
    'with refs that are none': (_, response) =>
      !!response.writeHead(200, advertised).end(`${refs}${line('version 2 $(id) ../../x')}0000`),
    'with a list of refs, and hangs up': (_, response) => {
      response.writeHead(200, advertised).write(refs, () => response.destroy())
      return true
    },
    'with its refs, and a pack of something else': (request, response) =>
      !isRefs(request) &&
      !!response.writeHead(200, pack).end(`${line('packfile')}${line('\u0001PACK of nothing')}0000`),
    'with its refs, and a page for a pack': (request, response) => !isRefs(request) && !!response.end('<html>no'),
  }

  test.each(Object.entries(wrongly))(
    '%s: the deployment fails with a sentence, and nothing is left',
    async (_, instead) => {
      await host.commit('trouble', { 'index.html': 'x' })
      host.instead = instead
      const { deployment, log } = await deploy({ url: host.url('trouble') }).finally(() => {
        host.instead = () => false
      })
      expect(deployment).toMatchObject({ state: 'failed', errorCode: 'FETCH_FAILED', sourceKey: null })
      expect(log.at(-1)).toMatch(/^-----> Failed +\S/)
      expect(deployment.stateReason?.length).toBeLessThan(1000)
    },
  )

  test('with a body without end: it is left when the time is over', async () => {
    await using talker = await GitHost.start({ at: '127.0.0.6' })
    talker.instead = (_, response) => {
      response.writeHead(200, advertised).write(refs)
      const chunk = line(`${'a'.repeat(40)} refs/heads/${'b'.repeat(900)}`).repeat(60)
      const more = () => !response.destroyed && response.write(chunk, () => setTimeout(more, 5))
      more()
      return true
    }
    await using impatient = await TestWorker.start({
      ATELIER_OUTBOUND_ALLOW: talker.address,
      ATELIER_FETCH_TIMEOUT_SEC: '2',
    })
    const own = await impatient.createApp()
    const deployment = await createDeployment(impatient.deps.sql, {
      app: own,
      target: targetOfBranch({ id: own, productionBranch: 'main' }, 'main'),
      ...{ version: timestampVersion(), source: 'git', by: 'test' },
      gitOrigin: parseGitOrigin({ url: talker.url('site') }),
    })
    const built = await impatient.build(deployment)
    expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'FETCH_FAILED' })
  })
})

test('a host that says nothing is left when the time is over', async () => {
  await using silent = await GitHost.start({ at: '127.0.0.5' })
  silent.instead = () => true
  await using impatient = await TestWorker.start({
    ATELIER_OUTBOUND_ALLOW: silent.address,
    ATELIER_FETCH_TIMEOUT_SEC: '1',
  })
  const own = await impatient.createApp()
  const deployment = await createDeployment(impatient.deps.sql, {
    app: own,
    target: targetOfBranch({ id: own, productionBranch: 'main' }, 'main'),
    version: timestampVersion(),
    source: 'git',
    by: 'test',
    gitOrigin: parseGitOrigin({ url: silent.url('site') }),
  })
  const built = await impatient.build(deployment)
  expect(built.deployment).toMatchObject({ state: 'failed', errorCode: 'FETCH_FAILED' })
  expect(built.deployment.stateReason).toContain('ATELIER_FETCH_TIMEOUT_SEC')
})

describe('G8, G14: names', () => {
  test.each([
    '--upload-pack=touch /tmp/c',
    '-c',
    'a b',
    'a;b',
    'a`id`',
    '$(id)',
    'refs/heads/../x',
    'refs/replace/1',
    'main\n',
    '',
    'a..b',
    '+main',
    'main:refs/heads/x',
    'x.lock',
  ])('%j is no ref', (ref) => {
    expect(() => parseGitOrigin({ url: 'https://git.example/x.git', ref })).toThrow(/no branch, tag or commit/)
  })

  test.each([
    'ext::sh -c touch% /tmp/c',
    'file:///etc',
    'ssh://git@host/x',
    'git@host:x.git',
    '--upload-pack=x',
    'https://user:password@host/x.git',
    'https://host/x.git?a=b',
    'https://host/x.git#a',
    'https://ho st/x.git',
    '/srv/git/x.git',
    '',
  ])('%j is no address', (url) => {
    expect(() => parseGitOrigin({ url })).toThrow(/address/)
  })
})
