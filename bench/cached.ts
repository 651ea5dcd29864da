import type { Atelier } from '../test/support/atelier.ts'
import { ask } from '../test/support/http.ts'
import { compareWithRivals, deployed } from './compare.ts'
import type { Target } from './load.ts'
import { type Row, repeat } from './measure.ts'
import { nginxCacheBefore } from './rivals/nginx.ts'
import { answer, jsonServer } from './rivals/node.ts'

const cacheControl = 'public, s-maxage=600'

/** An answer that may be cached, from the response cache, and from nginx's. */
export async function measureCached(atelier: Atelier): Promise<Row[]> {
  const headers = `{ headers: { 'cache-control': '${cacheControl}' } }`
  const target = await deployed(atelier, 'edge-cached', {
    'index.js': `export default { fetch: () => Response.json(${answer}, ${headers}) }\n`,
    'package.json': '{"type":"module"}',
  })
  await proveCached(target)
  const backend = await jsonServer(await atelier.directory(), { 'cache-control': cacheControl })
  const start = async () => nginxCacheBefore('nginx proxy_cache', await atelier.directory(), backend)
  return compareWithRivals('cached dynamic answer', target, [{ start, target: '≥ 0.9 / 1.1' }])
}

// Each edge process has a cache of its own, and a new connection comes to any of them.
async function proveCached({ port, host = '' }: Target): Promise<void> {
  const answers = await repeat(20, () => ask(port, host, '/'))
  const word = answers.at(-1)?.headers['x-atelier-cache']
  if (word !== 'hit') throw new Error(`the answer is not cached: x-atelier-cache is ${word}`)
}
