import { text } from 'node:stream/consumers'
import { afterAll, expect, test } from 'vitest'
import { blobKey } from '../../registry/bundle-store/keys.ts'
import { type Built, type TestFiles, TestWorker } from '../../test/support/build-worker.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

// A barrel that is a folder of the app's own, so that nothing is fetched.
const icons = {
  'icons/package.json': { name: 'icons', version: '1.0.0', type: 'module', main: 'index.js', sideEffects: false },
  'icons/index.js': 'export { default as Sun } from "./sun.js"; export { default as Broken } from "./broken.js"',
  'icons/sun.js': 'export default "sun"',
  // Whoever reads it fails.
  'icons/broken.js': 'this is no JavaScript',
}
const manifest = { type: 'module', main: 'main.js', dependencies: { icons: 'file:./icons' } }
const answer = (body: string) => `export default { fetch: () => new Response(${body}) }`
// What the bundle says in answer to a request, kept as a file.
const shown = { build: { static: { paths: ['/said'] } } }

async function said({ manifest: built }: Built): Promise<string> {
  const file = built?.files.find(({ path }) => path === 'said')
  return text(await worker.deps.store.get(blobKey(file?.sha256 ?? '')))
}

async function deploy(files: TestFiles, env: Record<string, string> = {}): Promise<Built> {
  const app = await worker.createApp()
  await worker.setEnv(app, env)
  return worker.deploy(app, files)
}

test('public variables are inlined as they were when the bundle was made, the others are not', async () => {
  const files = {
    'main.js': answer('[process.env.PUBLIC_URL, import.meta.env.VITE_NAME, process.env.SECRET].join()'),
    'atelier.config.json': {
      build: { ...shown.build, env: { VITE_NAME: 'from the config', PUBLIC_URL: 'overruled' } },
    },
    'package.json': { type: 'module', main: 'main.js' },
  }
  const built = await deploy(files, { PUBLIC_URL: 'https://a.example', SECRET: 'at run time' })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.transforms_applied).toEqual(['esbuild', 'env_inline'])
  expect(await said(built)).toBe('https://a.example,from the config,at run time')

  const off = { build: { ...files['atelier.config.json'].build, transforms: { env_inline: false } } }
  const plain = await deploy({ ...files, 'atelier.config.json': off }, { PUBLIC_URL: 'https://a.example' })
  // Node knows no import.meta.env: nobody made one up.
  expect(plain.deployment).toMatchObject({ state: 'failed', errorCode: 'PRERENDER_FAILED' })
})

test('of a barrel that the config lists only the modules used are read', async () => {
  const files = {
    ...icons,
    'package.json': manifest,
    'main.js': `import { Sun } from 'icons'\n${answer('Sun')}`,
  }
  const listed = { build: { ...shown.build, transforms: { barrel_optimize: ['icons'] } } }
  const built = await deploy({ ...files, 'atelier.config.json': listed })
  expect(built.deployment.stateReason).toBeNull()
  expect(built.manifest?.transforms_applied).toEqual(['esbuild', 'barrel_optimize'])
  expect(await said(built)).toBe('sun')

  const whole = await deploy(files)
  expect(whole.deployment).toMatchObject({ state: 'failed', errorCode: 'BUILD_FAILED' })
  expect(whole.deployment.stateReason).toMatch(/broken\.js:1:5: Expected ";" but found "is"$/)
})

test('messages of the library are those of the program: file, line and column', async () => {
  const transforms = { build: { transforms: { barrel_optimize: ['icons'] } } }
  const files = {
    'package.json': { type: 'module', main: 'main.js' },
    'main.js': `\n  import x from './missing.js'\n${answer('x')}`,
  }
  const [program, library] = [await deploy(files), await deploy({ ...files, 'atelier.config.json': transforms })]
  expect(program.deployment.stateReason).toBe('build failed: main.js:2:16: Could not resolve "./missing.js"')
  expect(library.deployment.stateReason).toBe(program.deployment.stateReason)
  const output = ({ log }: Built) => log.filter((line) => line.startsWith('       '))
  expect(output(library)).toEqual(output(program))
})

test('client-only in the server is refused with the way there', async () => {
  const { deployment, log } = await deploy({
    'package.json': { type: 'module', main: 'main.js' },
    'main.js': `import { map } from './map.js'\n${answer('map')}`,
    'map.js': "import 'leaflet'\nexport const map = 1",
    'atelier.config.json': { build: { transforms: { import_strip: { client: ['leaflet'] } } } },
  })
  expect(deployment).toMatchObject({ state: 'failed', errorCode: 'BUILD_FAILED' })
  expect(deployment.stateReason).toBe(
    'build failed: map.js:1:7: leaflet is for browsers and cannot be in the server: main.js → map.js → leaflet',
  )
  expect(log.join('\n')).toContain('leaflet is for browsers')
})
