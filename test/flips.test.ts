import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { example } from './support/example.ts'
import type { Files } from './support/repo.ts'

const flips = 20

const saying: Record<string, (text: string) => Files> = {
  static: (text) => ({ 'index.html': text }),
  hono: (text) => ({
    'src/index.ts': `import { Hono } from 'hono'\nexport default new Hono().get('/', (context) => context.text('${text}'))\n`,
  }),
  'node-http': (text) => ({
    'server.js': `import { createServer } from 'node:http'\ncreateServer((_request, response) => response.end('${text}')).listen(process.env.PORT)\n`,
  }),
}

test.for(['static', 'hono', 'node-http'])(
  `${flips} production flips of %s under load: not one failed or mixed response`,
  async (name, { atelier }) => {
    const app = await atelier.createApp(`flip-${name}`)
    const repo = await atelier.clone(app)
    const content = saying[name]
    if (!content) throw new Error(name)
    const texts = Array.from(
      { length: flips + 1 },
      (_, index) => `${name} version ${index} ${'·'.repeat(2000)} end ${index}`,
    )
    await repo.commit({ ...(await example(name)), ...content(texts[0] ?? '') })
    await repo.push()

    await using traffic = atelier.keepRequesting(app, '/')
    for (const text of texts.slice(1)) {
      await repo.commit(content(text))
      // All traffic at once: under load it would move in stages.
      await repo.push('--push-option=canary=skip')
      await expect.poll(() => traffic.bodiesSeen.at(-1)).toBe(text)
    }
    await traffic.stop()
    expect(traffic.failures).toEqual([])
    expect(traffic.bodiesSeen).toEqual(texts)
  },
)
