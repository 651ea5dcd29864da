import { text } from 'node:stream/consumers'
import { afterAll, expect, test } from 'vitest'
import { blobKey } from '../../registry/bundle-store/keys.ts'
import { type Built, type TestFiles, TestWorker } from '../../test/support/build-worker.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

const server = 'export default { fetch: () => new Response("from the server") }'
const app = (client: unknown, files: TestFiles, build: object = {}): TestFiles => ({
  'package.json': { type: 'module', main: 'main.js' },
  'main.js': server,
  'atelier.config.json': { build: { ...build, client } },
  ...files,
})

async function deploy(files: TestFiles, env: Record<string, string> = {}): Promise<Built> {
  const name = await worker.createApp()
  await worker.setEnv(name, env)
  return worker.deploy(name, files)
}

async function contentOf({ manifest }: Built, wanted: RegExp): Promise<string> {
  const file = manifest?.files.find(({ path }) => wanted.test(path))
  return text(await worker.deps.store.get(blobKey(file?.sha256 ?? '')))
}

test('what a fetch app has for browsers is bundled below /assets, with public variables and without secrets', async () => {
  const files = {
    'src/client.tsx': `
      import './page.css'
      import picture from './sun.svg'
      console.log(process.env.PUBLIC_URL, picture, process.env.NODE_ENV)
      void import('./later').then(({ later }) => later())`,
    'src/later.ts': 'export const later = () => console.log("later on")',
    'src/page.css': 'body { background: url(./sun.svg) }',
    'src/sun.svg': '<svg/>',
  }
  const built = await deploy(app('src/client.tsx', files), { PUBLIC_URL: 'https://a.example', SECRET: 'hunter2' })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.transforms_applied).toEqual(['esbuild', 'env_inline', 'import_strip'])
  expect(built.manifest?.files.map(({ path }) => path.replace(/-[A-Z0-9]{8}\./, '-HASH.'))).toEqual([
    'assets/client.css',
    'assets/client.js',
    'assets/later-HASH.js',
    'assets/sun-HASH.svg',
  ])
  const script = await contentOf(built, /client\.js$/)
  expect(script).toContain('"https://a.example"')
  expect(script).toContain('"production"')
  expect(script).not.toContain('hunter2')
})

test('what is for the server fails the build, with the file and the way there', async () => {
  const { deployment } = await deploy(
    app('src/client.ts', {
      'src/client.ts': "import { rows } from './rows'\nconsole.log(rows)",
      'src/rows.ts': "import { readFileSync } from 'node:fs'\nexport const rows = readFileSync('rows.csv')",
    }),
  )
  expect(deployment).toMatchObject({ state: 'failed', errorCode: 'BUILD_FAILED' })
  expect(deployment.stateReason).toBe(
    'build failed: src/rows.ts:1:29: node:fs is for the server and cannot be in what browsers load: src/client.ts → src/rows.ts → node:fs',
  )
})

test('an entry that is not there is named, and other kinds of app are told that nobody bundles theirs', async () => {
  const { deployment } = await deploy(app(['src/none.ts'], {}))
  expect(deployment.stateReason).toBe('build failed: Could not resolve "src/none.ts"')
  const files = { 'index.html': 'hi', 'atelier.config.json': { build: { client: 'src/client.ts' } } }
  expect((await deploy(files)).log.join('\n')).toContain('build.client is left out')
})
