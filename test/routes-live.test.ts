import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { example } from './support/example.ts'

const hono = (route: string) => `import { Hono } from 'hono'
import { logger } from 'hono/logger'
const api = new Hono().get('/time', (context) => context.json({ now: 1 })).post('/time', (context) => context.text('set'))
const app = new Hono()
app.use(logger(() => {}))
app.get('/', (context) => context.text('one'))
${route}
app.route('/api', api)
export default app
`

test('a pushed Hono app has its routes listed, and one with a route that throws is refused by its name', async ({
  atelier,
}) => {
  const app = await atelier.createApp('listed')
  const repo = await atelier.clone(app)
  const first = await repo.commit({
    ...(await example('hono')),
    'src/index.ts': hono("app.get('/report/:year{[0-9]+}', (context) => context.text(context.req.param('year')))"),
  })
  const { remote } = await repo.push()
  expect(remote.join('\n')).toMatch(/-----> Routes {6}3 API +\d+\.\d s\n/)
  expect(remote.join('\n')).toMatch(/-----> Verifying {3}GET \/ → 200, 2 of 3 routes below 500 +\d+\.\d s\n/)

  const throwing = "app.get('/report', () => { throw new Error('no table of reports') })"
  await repo.commit({ 'src/index.ts': hono(throwing) })
  await expect(repo.push()).rejects.toMatchObject({
    result: {
      stderr: expect.stringMatching(
        /Error: no table of reports[\s\S]*\[remote rejected\].*GET \/report answered 500 \(Internal Server Error\)/,
      ),
    },
  })
  expect(await atelier.get(app, '/')).toMatchObject({
    ...{ status: 200, body: 'one', headers: { 'x-atelier-deployment': first } },
  })

  const settings = { deployments: { healthCheck: { routes: { except: ['/report'] } } } }
  const last = await repo.commit({ 'atelier.config.json': JSON.stringify(settings) })
  await repo.push('--push-option=canary=skip')
  expect(await atelier.get(app, '/report')).toMatchObject({ status: 500 })

  const shown = await atelier.cli(['routes', '--app', 'listed'])
  expect(shown.stdout.split('\n')).toEqual([
    expect.stringMatching(/^KIND +PATH +METHODS +RENDERED +FROM$/),
    expect.stringMatching(/^api +\/ +GET +dynamic +-$/),
    expect.stringMatching(/^api +\/api\/time +GET POST +dynamic +-$/),
    expect.stringMatching(/^api +\/report +GET +dynamic +-$/),
    '',
  ])
  const json = await atelier.cli(['routes', first.slice(0, 7), '--json', '--app', 'listed'])
  expect(JSON.parse(json.stdout)).toMatchObject({ version: first, read_from: 'app', static: [], notes: [] })
  const { stdout } = await atelier.cli(['diff', first.slice(0, 7), last.slice(0, 7), '--app', 'listed'], {
    cwd: repo.directory,
  })
  expect(stdout).toMatch(/\+ \/report\n/)
  expect(stdout).toMatch(/- \/report\/:year\n/)
})
