import { expect } from 'vitest'
import { test } from './support/atelier.ts'

const source = (text: string) => `
  import { Hono } from 'hono'
  import { capitalize as Sun } from 'lodash-es'
  let asked = 0
  const app = new Hono()
  const page = (context, title) => context.html('<script type="module" src="/assets/client.js"></script>' + title + Sun('sun ') + process.env.PUBLIC_NAME)
  app.get('/', (context) => page(context, 'home'))
  app.get('/posts/:id', (context) => page(context, '${text} ' + context.req.param('id') + ' asked ' + ++asked))
  app.get('/feed.xml', (context) => context.body('<feed/>', 200, { 'content-type': 'application/atom+xml' }))
  app.get('/account', (context) => {
    context.header('set-cookie', 'session=1')
    return context.html('for you, ' + ++asked)
  })
  export const staticPaths = async () => ['/posts/1', '/posts/2', '/feed.xml', '/account']
  export default app
`

const config = (more: object) =>
  JSON.stringify({ build: { client: 'src/client.ts', env: { PUBLIC_NAME: 'by name' }, ...more } })

test('a Hono app with pages made when it is built, a barrel and code for browsers, over HTTP', async ({ atelier }) => {
  const app = await atelier.createApp()
  const repo = await atelier.clone(app)
  await repo.commit({
    'package.json': JSON.stringify({ type: 'module', dependencies: { hono: '^4.13.0', 'lodash-es': '^4.17.0' } }),
    'src/index.ts': source('one'),
    'src/client.ts': 'document.title = import.meta.env.PUBLIC_NAME',
    'atelier.config.json': config({ transforms: { barrel_optimize: ['lodash-es'] } }),
  })
  const pushed = (await repo.push()).remote.join('\n')
  expect(pushed).toMatch(/Prerendering 4 pages[\s\S]*3 pages, 1 left to the app/)
  expect(pushed).toContain('/account is left to the app: it sets the cookie session, which is for one visitor')

  const [first, again] = [await atelier.get(app, '/posts/2'), await atelier.get(app, '/posts/2')]
  expect(first).toMatchObject({ status: 200, body: expect.stringContaining('one 2 asked') })
  expect(first.body).toContain('Sun by name')
  expect(again.body).toBe(first.body)
  expect(first.headers).toMatchObject({
    etag: expect.any(String),
    'content-type': expect.stringMatching(/^text\/html/),
  })
  expect((await atelier.get(app, '/posts/9')).body).not.toBe((await atelier.get(app, '/posts/9')).body)
  expect((await atelier.get(app, '/account')).body).not.toBe((await atelier.get(app, '/account')).body)
  expect(await atelier.get(app, '/feed.xml')).toMatchObject({
    body: '<feed/>',
    headers: { 'content-type': 'application/atom+xml' },
  })
  const script = await atelier.get(app, '/assets/client.js')
  expect(script).toMatchObject({ status: 200, body: expect.stringContaining('document.title="by name"') })

  // The next version has pages of its own, and a rollback brings the old ones back.
  await repo.commit({ 'src/index.ts': source('two') })
  await repo.push('--push-option=canary=skip')
  expect((await atelier.get(app, '/posts/2')).body).toContain('two 2 asked')
  expect(await atelier.cli(['rollback', '--app', app.name])).toMatchObject({ code: 0 })
  await expect.poll(async () => (await atelier.get(app, '/posts/2')).body).toBe(first.body)

  await repo.commit({ 'src/index.ts': source('three').replace("'/posts/2'", "'/posts/2', '/none'") })
  expect((await repo.tryPush()).stderr).toMatch(/\[remote rejected\].*GET \/none answered 404/)
  expect((await atelier.get(app, '/posts/2')).body).toBe(first.body)
})
