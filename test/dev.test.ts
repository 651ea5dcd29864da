import { once } from 'node:events'
import { rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { run } from './support/command.ts'
import { Dev } from './support/dev.ts'
import { checkout, plainEnv } from './support/platform.ts'
import { processesOf } from './support/processes.ts'

const soon = { timeout: 120_000, interval: 30 }

const fetchApp = (text: string) => `
import { name } from './name.ts'
export default { fetch: (request: Request, env: Record<string, string>) => {
  console.log('asked for', new URL(request.url).pathname)
  return new Response(\`${text}, \${name}, \${env.MOOD}\`)
} }
`

test('an app is served as the platform serves it, and again after every way of saving; a build that fails leaves what was there', async () => {
  await using dev = await Dev.start({
    'package.json': '{"name":"@acme/greeter","type":"module"}',
    'src/index.ts': fetchApp('one'),
    'src/name.ts': "export const name = 'ada'\n",
    '.env': 'MOOD=glad\nPORT=9999\n',
  })
  await expect.poll(dev.said, soon).toContain('live in')
  expect(dev.said()).toContain('greeter at http://localhost:')
  const first = await dev.get('/')
  expect(first).toMatchObject({ status: 200, body: 'one, ada, glad' })
  expect(first.headers).toMatchObject({ 'x-atelier-deployment': expect.any(String), 'cache-control': 'no-store' })
  await expect.poll(dev.said, soon).toContain('asked for /')

  await dev.write({ 'src/name.ts': "export const name = 'eve'\n" })
  await expect.poll(dev.body, soon).toBe('one, eve, glad')
  // As editors do it: another file, renamed over the old one; and a new one in a new folder.
  await writeFile(join(dev.folder, 'src/.index.tmp'), fetchApp('two').replace('./name.ts', './people/name.ts'))
  await dev.write({ 'src/people/name.ts': "export const name = 'joe'\n" })
  await rename(join(dev.folder, 'src/.index.tmp'), join(dev.folder, 'src/index.ts'))
  await expect.poll(dev.body, soon).toBe('two, joe, glad')
  await dev.write({ '.env.local': 'MOOD="very glad"\n' })
  await expect.poll(dev.body, soon).toBe('two, joe, very glad')

  await dev.write({ 'src/people/name.ts': 'export const name = ;\n' })
  await expect.poll(dev.said, soon).toContain('not built; what was there before is still served')
  expect(dev.said()).toMatch(/src\/people\/name\.ts:1:\d+/)
  const kept = await dev.get('/')
  expect(kept).toMatchObject({ status: 200, body: 'two, joe, very glad' })
  expect(kept.headers['x-atelier-dev']).toContain('last build failed')
  await dev.write({ 'src/people/name.ts': "export const name = 'kim'\n" })
  await expect.poll(dev.body, soon).toBe('two, kim, very glad')
  await expect.poll(async () => (await dev.get('/')).headers, soon).not.toHaveProperty('x-atelier-dev')

  // Nothing of this is a save; that it was not built is known when the save after it has been.
  const before = dev.lives()
  await dev.write({ 'node_modules/left-pad/index.js': '1', '.git/index.lock': '1', 'src/index.ts~': '1' })
  for (let index = 0; index < 100; index++)
    await dev.write({ 'src/people/name.ts': `export const name = 'n${index}'\n` })
  await expect.poll(dev.body, soon).toBe('two, n99, very glad')
  expect(dev.lives() - before).toBeLessThan(20)

  const second = await run(process.execPath, [join(checkout, 'cli/atelier.mjs'), 'dev', dev.folder], {
    env: { ...plainEnv(), ATELIER_DEV_HOME: join(dev.scratch, 'h') },
  })
  expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining('in another terminal?') })

  dev.interrupt()
  expect(await dev.ended).toBe(0)
  expect(processesOf(join(dev.scratch, 'h'))).toEqual([])
})

test('pages learn of the next version and of a build that failed, also before there is a first', async () => {
  await using dev = await Dev.start({ 'index.html': '<h1>one</h1>', 'atelier.config.json': '{"build": {"entri": 1}}' })
  await expect.poll(dev.said, soon).toContain('not built; save again when it is mended')
  const page = await dev.get('/', 'text/html')
  expect(page).toMatchObject({ status: 500, body: expect.stringContaining('entri') })
  expect(await dev.get('/api')).toMatchObject({ status: 500, body: expect.stringMatching(/^(?!<)[\s\S]*entri/) })

  await using events = await Events.of(dev.port())
  await expect.poll(() => events.last(), soon).toMatchObject({ version: 0, problem: expect.stringContaining('entri') })
  await rm(join(dev.folder, 'atelier.config.json'))
  await expect.poll(() => events.last(), soon).toEqual({ version: 1, problem: null })
  const shown = await dev.get('/', 'text/html')
  expect(shown).toMatchObject({ status: 200, body: '<h1>one</h1><script src="/__atelier/dev.js" async></script>' })
  expect((await dev.get('/__atelier/dev.js')).body).toContain('location.reload()')
  expect((await dev.get('/missing', 'text/html')).status).toBe(404)

  await dev.write({ 'index.html': '<h1>two</h1>', 'about/index.html': 'about' })
  await expect.poll(() => events.last(), soon).toEqual({ version: 2, problem: null })
  expect((await dev.get('/about/')).body).toBe('about')
  expect((await dev.get('/about', 'text/html')).headers.location ?? '').not.toContain('apps.localhost')
})

test('a port that is taken and one that is none are refused in a sentence', async () => {
  const server = createServer().listen(0, 'localhost')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await using busy = await Dev.start({ 'index.html': 'hello' }, ['--port', String(port)])
  expect(await busy.ended).toBe(1)
  expect(busy.said()).toContain(`port ${port} is taken; choose another`)
  server.close()

  await using none = await Dev.start({}, ['--port', 'soon'])
  expect(await none.ended).toBe(2)
})

test('a framework with a dev server of its own is run by that, with the variables, unless --build is said', async () => {
  const vite =
    '#!/usr/bin/env node\nconsole.log("vite", process.argv.slice(2).join(" "), process.env.VITE_MOOD); process.exitCode = 5\n'
  const files = {
    'package.json': '{"name":"shop","scripts":{"dev":"vite"}}',
    'node_modules/.bin/vite': vite,
    '.env': 'VITE_MOOD=glad\n',
  }
  await using own = await Dev.start({ 'package.json': files['package.json'] })
  expect(await own.ended).toBe(1)
  expect(own.said()).toContain('run: npm install')

  await using installed = await Dev.start(
    { ...files, 'package.json': '{"name":"shop","scripts":{"dev":"node node_modules/.bin/vite dev"}}' },
    ['--port', '4321'],
  )
  expect(await installed.ended).toBe(5)
  expect(installed.said()).toContain('vite dev --port 4321 glad')
  expect(installed.said()).toContain('atelier dev --build')
})

/** What a page hears. */
class Events implements AsyncDisposable {
  readonly #socket: ReturnType<typeof connect>
  #text = ''

  static async of(port: number): Promise<Events> {
    const socket = connect(port, 'localhost')
    await once(socket, 'connect')
    socket.write('GET /__atelier/events HTTP/1.1\r\nhost: localhost\r\n\r\n')
    return new Events(socket)
  }

  private constructor(socket: ReturnType<typeof connect>) {
    this.#socket = socket
    socket.on('error', () => socket.destroy())
    socket.on('data', (text) => {
      this.#text += text.toString()
    })
  }

  last(): unknown {
    const found = [...this.#text.matchAll(/^data: (.*)$/gm)].at(-1)
    return found?.[1] ? JSON.parse(found[1]) : null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy()
  }
}
