import { afterAll, expect, test } from 'vitest'
import { TestWorker } from '../test/support/build-worker.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

test('a static folder', async () => {
  const app = await worker.createApp()
  const { deployment, manifest } = await worker.deploy(app, {
    'index.html': '<h1>one</h1>',
    'style.css': 'body{}',
    '.env': 'x',
  })
  expect(deployment).toMatchObject({ state: 'live', stateReason: null })
  expect(manifest?.files.map(({ path }) => path)).toEqual(['index.html', 'style.css'])
})

test('a fetch app without dependencies', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'src/index.ts': 'export default { fetch: (r: Request): Response => new Response("hi") }',
  })
  expect(built.deployment).toMatchObject({ state: 'live', stateReason: null })
})

test('a bare node server', async () => {
  const app = await worker.createApp()
  const built = await worker.deploy(app, {
    'server.js': 'require("http").createServer((q, s) => s.end("hi")).listen(process.env.PORT)',
  })
  expect(built.deployment).toMatchObject({ state: 'live', stateReason: null })
})
