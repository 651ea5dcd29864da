import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { describe, expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { run } from './support/command.ts'
import { checkout, plainEnv } from './support/platform.ts'

// The command on a machine where the whole platform runs: gateway, workers, edge and all.

/** A folder with a small app that answers with its version and its GREETING. */
async function greeter(folder: string, version = 'one'): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), '{"name":"greeter","type":"module"}')
  await writeFile(
    join(folder, 'index.ts'),
    `export default { fetch: () => { console.log('asked'); return new Response('${version} ' + (process.env.GREETING ?? 'nothing')) } }\n`,
  )
}

async function said(atelier: Atelier, args: string[], cwd: string): Promise<string> {
  const result = await atelier.cli(args, { cwd })
  expect(result).toMatchObject({ code: 0, stderr: '' })
  return result.stdout
}

/** Of a person with nothing set up but git: no token in the URL, and nobody at the terminal to ask. */
function git(atelier: Atelier, args: string[], cwd: string) {
  const home = join(atelier.platform.scratch, 'desk')
  const env = {
    ...plainEnv(),
    HOME: home,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '/bin/false',
  }
  return run('git', args, { cwd, env })
}

describe('a linked repository', () => {
  test('is pushed without any question, also from a folder with spaces, and rolled back by the same name', async ({
    atelier,
  }) => {
    const folder = join(await atelier.directory(), 'my own app')
    await greeter(folder)
    await git(atelier, ['init', '--quiet', '--initial-branch', 'main'], folder)
    const commit = async (version: string) => {
      await greeter(folder, version)
      await git(atelier, ['add', '--all'], folder)
      await git(atelier, ['commit', '--quiet', '--message', version], folder)
    }
    await commit('one')
    expect(await said(atelier, ['link', 'linked'], folder)).toContain('git push atelier main')
    expect(await git(atelier, ['push', 'atelier', 'main'], folder)).toMatchObject({ code: 0 })
    expect(await atelier.get('linked', '/')).toMatchObject({ status: 200, body: 'one nothing' })

    await commit('two')
    expect(await git(atelier, ['push', 'atelier', 'main'], folder)).toMatchObject({ code: 0 })
    expect(await said(atelier, ['rollback'], folder)).toMatch(/^linked [0-9a-f]{7} \(v1\) is live again at http/)
    await expect.poll(() => atelier.get('linked', '/')).toMatchObject({ body: 'one nothing' })
    expect(await said(atelier, ['rollback', 'v2'], folder)).toContain('to return to')
    await expect.poll(() => atelier.get('linked', '/')).toMatchObject({ body: 'two nothing' })

    const status = await said(atelier, ['status'], folder)
    expect(status).toContain('1 edge serving')
    await expect.poll(() => said(atelier, ['logs'], folder)).toContain('asked')
  })

  test('prints the same lines for a folder as git does for a push', async ({ atelier }) => {
    const app = await atelier.createApp()
    const repo = await atelier.clone(app)
    await greeter(repo.directory)
    await repo.commit({})
    const pushed = (await repo.push()).remote.map((line) => line.trimEnd())
    const deployed = (await said(atelier, ['deploy', '.', '--app', app.name], repo.directory)).trimEnd().split('\n')
    const shapeOf = (lines: string[]) =>
      lines.map((line) => line.slice(0, 18)).filter((line) => !/back:|Canary|^-----> Starting|^ {7}done/.test(line))
    expect(shapeOf(deployed).slice(1)).toEqual(shapeOf(pushed).slice(1))
  })
})

test('a folder that has not changed is live without a build, unless one is asked for', async ({ atelier }) => {
  const files = { 'index.html': 'same', 'assets/style.css': 'p {}' }
  const folder = await atelier.directory(files)
  const deploy = (from: string, ...args: string[]) => said(atelier, ['deploy', '--app', 'same-app', ...args], from)
  expect(await deploy(folder, '--version', '1.0.0')).toContain('Uploading')
  const again = await deploy(await atelier.directory(files), '--version', '1.0.1')
  expect(again).toContain(
    'the same files as 1.0.0, built before: nothing to build; to build all the same: atelier deploy --force-build, or now',
  )
  expect(again).not.toContain('Uploading')
  expect((await atelier.get('same-app', '/')).headers['x-atelier-deployment']).toBe('1.0.1')
  expect(await deploy(folder, '--version', '1.0.2', '--force-build')).toContain('Uploading')
  await writeFile(join(folder, 'index.html'), 'other')
  expect(await deploy(folder, '--version', '1.0.3')).toContain('Uploading')
  expect(await atelier.get('same-app', '/')).toMatchObject({ body: 'other' })
})

test('variables reach a running app by a redeploy without a build', async ({ atelier }) => {
  const folder = join(await atelier.directory(), 'app')
  await greeter(folder)
  await said(atelier, ['deploy', '--app', 'env-app'], folder)
  expect(await atelier.get('env-app', '/')).toMatchObject({ body: 'one nothing' })
  const shown = await said(atelier, ['env', 'set', 'GREETING=hello', '--redeploy', '--app', 'env-app'], folder)
  expect(shown).not.toMatch(/Bundling|Installing/)
  await expect.poll(() => atelier.get('env-app', '/')).toMatchObject({ body: 'one hello' })
})

test('what differs between two versions is shown, and of variables only the names', async ({ atelier }) => {
  const folder = await atelier.directory({ 'index.html': 'one', 'old.html': 'gone soon', 'same.css': 'p {}' })
  const run = (args: string[]) => said(atelier, [...args, '--app', 'diff-app'], folder)
  await run(['deploy', '--version', '1.0.0'])
  await rm(join(folder, 'old.html'))
  await writeFile(join(folder, 'index.html'), 'one and more')
  await writeFile(join(folder, 'about.html'), 'new')
  await run(['env', 'set', 'GREETING=hush-hush'])
  await run(['deploy', '--version', '1.1.0'])
  expect((await run(['diff', '1.0.0', '1.1.0'])).split('\n')).toEqual([
    '1.0.0 (v1) → 1.1.0 (v2)',
    '  routes        + /about',
    '                - /old',
    '  files         + about.html  3 B',
    '                - old.html  9 B',
    '                ~ index.html  3 B → 12 B',
    '  variables     + GREETING',
    '',
  ])
  expect(await run(['diff', 'v1', 'v1'])).toBe('1.0.0 (v1) → 1.0.0 (v1)\n  nothing differs\n')
  const failed = await atelier.cli(['diff', 'v1', 'v9', '--app', 'diff-app'], { cwd: folder })
  expect(failed).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('no built version v9; see: atelier deploys'),
  })
})

test('a cached answer is served until it is purged, on every edge process', async ({ atelier }) => {
  const folder = await atelier.directory({
    'package.json': '{"name":"cached","type":"module"}',
    'index.ts': `let made = 0
export default { fetch: () => new Response('answer ' + ++made, { headers: { 'cache-control': 's-maxage=600', 'cache-tag': 'answers' } }) }
`,
  })
  await said(atelier, ['deploy', '--app', 'cached-app'], folder)
  const seen = async () => {
    const answers = await Promise.all(Array.from({ length: 16 }, () => atelier.get('cached-app', '/')))
    expect(answers.at(-1)?.headers).not.toHaveProperty('cache-tag')
    return new Set(answers.map(({ headers, body }) => `${headers['x-atelier-cache']} ${body}`))
  }
  await expect.poll(async () => [...(await seen())].filter((one) => !one.startsWith('hit'))).toEqual([])
  const before = [...(await seen())]
  expect(await said(atelier, ['purge', '--tag', 'answers', '--app', 'cached-app'], folder)).toBe(
    'cached-app: tag answers purged on 1 edge\n',
  )
  const after = await seen()
  expect(before.filter((one) => after.has(one))).toEqual([])
  expect([...after].some((one) => one.startsWith('miss'))).toBe(true)
})

test('logs -f re-attaches to a running build, and cancel ends it', async ({ atelier }) => {
  const folder = await atelier.directory({
    'package.json': '{"name":"slow","scripts":{"start":"node ."}}',
    'atelier.config.ts': "export default { build: { script: 'build.sh' } }\n",
    'build.sh': 'echo the build has begun\nwhile true; do sleep 1; done\n',
    'index.html': 'slow',
  })
  const deploying = atelier.cli(['deploy', '--app', 'slow-app'], { cwd: folder })
  const newest = async () => {
    const { body } = await atelier.api('GET', 'deploys?app=slow-app')
    return body.includes('"deployments"') ? JSON.parse(body).deployments[0] : undefined
  }
  await expect.poll(newest, { timeout: 20_000 }).toMatchObject({ state: 'building' })
  const { id } = await newest()
  const env = { ...plainEnv(), HOME: folder, ATELIER_HOME: atelier.home }
  const following = spawn(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'logs', id, '-f'], { cwd: folder, env })
  const [stdout, stderr] = [buffer(following.stdout), buffer(following.stderr)]
  // It may have ended before the command that cancels has.
  const closed = once(following, 'close')
  let seen = ''
  following.stdout.on('data', (chunk) => {
    seen += chunk
  })
  await expect.poll(() => seen, { timeout: 20_000 }).toContain('the build has begun')
  expect(await said(atelier, ['cancel', id], folder)).toContain('is cancelled')
  expect((await closed)[0]).toBe(1)
  expect(String(await stderr)).toContain('was cancelled')
  expect(String(await stdout)).toContain('the build has begun')
  expect(await deploying).toMatchObject({ code: 1 })
})
