import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { atOnce } from './support/repo.ts'

const fetchApp = (text: string) => `export default { fetch: () => new Response(${text}) }\n`

test('a commit that changes no file is live under its own name without a build', async ({ atelier }) => {
  const app = await atelier.createApp()
  const repo = await atelier.clone(app)
  const first = await repo.commit({ 'src/index.js': fetchApp("'same'"), 'package.json': '{"type":"module"}' })
  await repo.push()
  const second = await repo.commit({})
  expect(second).not.toBe(first)
  const pushed = await repo.push(atOnce)
  expect(pushed.remote.join('\n')).toContain(
    `${second.slice(0, 7)} · the same files as ${first.slice(0, 7)}, built before: nothing to build; to build all the same: git push -o force-build, or now atelier redeploy --build`,
  )
  expect(pushed.remote.join('\n')).not.toMatch(/Bundling|Uploading/)
  const { body, headers } = await atelier.get(app, '/')
  expect(body).toBe('same')
  expect(headers['x-atelier-deployment']).toBe(second)

  const forced = await repo.commit({})
  expect((await repo.push(atOnce, '--push-option=force-build')).remote.join('\n')).toContain('Bundling')
  expect((await atelier.get(app, '/')).headers['x-atelier-deployment']).toBe(forced)

  // Back to files that were built two commits ago, and another build of the first version's own name.
  await repo.commit({ 'src/index.js': fetchApp("'other'") })
  expect((await repo.push(atOnce)).remote.join('\n')).toContain('Bundling')
  await repo.commit({ 'src/index.js': fetchApp("'same'") })
  expect((await repo.push(atOnce)).remote.join('\n')).toContain('nothing to build')
  expect((await atelier.get(app, '/')).body).toBe('same')
})

test('an app whose build names the version is built for each, and only such a build is told', async ({ atelier }) => {
  const app = await atelier.createApp()
  const repo = await atelier.clone(app)
  const build = (script: string) =>
    JSON.stringify({ type: 'module', scripts: { build: script }, main: 'server.js', dependencies: {} })
  const files = {
    'server.js': `import { createServer } from 'node:http'\nimport { readFileSync } from 'node:fs'\nconst text = readFileSync('told.txt')\ncreateServer((_, response) => response.end(text)).listen(process.env.PORT)\n`,
    'package.json': build('env > told.txt'),
  }
  const untold = await repo.commit(files)
  await repo.push()
  const { body } = await atelier.get(app, '/')
  expect(body).toContain(`ATELIER_APP=${app.name}`)
  expect(body).not.toContain(untold)
  expect(body).not.toContain('ATELIER_VERSION')

  const told = await repo.commit({ 'package.json': build('env > told.txt; test "$ATELIER_VERSION"') })
  await repo.push(atOnce)
  expect((await atelier.get(app, '/')).body).toContain(`ATELIER_VERSION=${told}`)
  const next = await repo.commit({})
  expect((await repo.push(atOnce)).remote.join('\n')).toContain('Building')
  expect((await atelier.get(app, '/')).body).toContain(`ATELIER_VERSION=${next}`)
})

test('a push that changes another app of the repository is live under its own name without a build, and can be gone back from', async ({
  atelier,
}) => {
  const app = await atelier.createApp()
  const repo = await atelier.clone(app)
  const first = await repo.commit({
    'atelier.config.json': JSON.stringify({ build: { root: 'apps/web' } }),
    'package.json': JSON.stringify({ workspaces: ['apps/*'] }),
    'apps/web/package.json': JSON.stringify({ name: 'web', version: '1.0.0', type: 'module' }),
    'apps/web/index.js': fetchApp("'web'"),
    'apps/api/package.json': JSON.stringify({ name: 'api', version: '1.0.0' }),
  })
  await repo.push()
  const second = await repo.commit({ 'apps/api/index.js': '' })
  const pushed = (await repo.push(atOnce)).remote.join('\n')
  expect(pushed).toContain(`nothing that apps/web uses has changed since ${first.slice(0, 7)}`)
  expect(pushed).not.toMatch(/Bundling|Uploading/)
  expect(await atelier.get(app, '/')).toMatchObject({ body: 'web', headers: { 'x-atelier-deployment': second } })

  const back = await atelier.cli(['rollback', first, '--app', app.name])
  expect(back, back.stderr).toMatchObject({ code: 0 })
  await expect.poll(async () => (await atelier.get(app, '/')).headers['x-atelier-deployment']).toBe(first)
})
