import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { TestWorker } from '../support/build-worker.ts'

// Apps nobody here wrote, as their own tools make them on the day of the test.
const worker = await TestWorker.start()
const scratch = await mkdtemp(join(tmpdir(), 'scaffolds-'))
afterAll(() => Promise.all([worker[Symbol.asyncDispose](), rm(scratch, { recursive: true })]))

test.each([
  ['react-ts', 'Vite + React detected'],
  ['vue-ts', 'Vite + Vue detected'],
  ['svelte', 'Vite + Svelte detected'],
  ['vanilla', 'Vite detected'],
])('npm create vite --template %s, unchanged', async (template, reason) => {
  await npx('create-vite@latest', template, '--template', template, '--no-interactive')
  const app = await worker.createApp()
  const first = await worker.build(await worker.pushFolder(app, join(scratch, template)))
  expect(first.deployment.stateReason).toBeNull()
  expect(first.log[0]).toContain(reason)
  expect(first.manifest).toMatchObject({ kind: 'static', framework: 'vite', spa_fallback: true })
  expect(first.manifest?.files.map(({ path }) => path)).toEqual(
    expect.arrayContaining(['index.html', expect.stringMatching(/^assets\/index-[\w-]+\.js$/)]),
  )

  const second = await worker.build(await worker.pushFolder(app, join(scratch, template)))
  expect(second.log.join('\n')).toMatch(/Installing {2}npm install \(cache hit\)/)
  expect(second.log.join('\n')).toMatch(/Uploading {3}0 of \d+ files changed/)
})

test('express-generator, unchanged', async () => {
  await npx('express-generator@latest', '--no-view', 'generated')
  const built = await worker.build(await worker.pushFolder(await worker.createApp(), join(scratch, 'generated')))
  expect(built.deployment.stateReason).toBeNull()
  expect(built.log[0]).toContain('Express detected (express in package.json, start script: node ./bin/www)')
  expect(built.manifest).toMatchObject({ kind: 'server', framework: 'express', server: { entry: 'bin/www' } })
})

test('a hapi server as its documentation begins it, with a port of its own', async () => {
  const built = await worker.deploy(await worker.createApp(), {
    'package.json': { name: 'my-hapi', main: 'index.js', dependencies: { '@hapi/hapi': '^21.4.0' } },
    'index.js': `const Hapi = require('@hapi/hapi')
      const init = async () => {
        const server = Hapi.server({ port: 3000, host: 'localhost' })
        server.route({ method: 'GET', path: '/', handler: () => 'Hello World!' })
        await server.start()
      }
      init()`,
  })
  expect(built.deployment.stateReason, built.log.join('\n')).toBeNull()
  expect(built.log[0]).toContain('hapi detected (@hapi/hapi in package.json, index.js)')
  expect(built.manifest).toMatchObject({ kind: 'server', framework: 'hapi', server: { entry: 'index.js' } })
})

async function npx(...args: string[]): Promise<void> {
  const cli = join(dirname(createRequire(import.meta.url).resolve('npm/package.json')), 'bin/npx-cli.js')
  await promisify(execFile)(process.execPath, [cli, '--yes', ...args], { cwd: scratch })
}
