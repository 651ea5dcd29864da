import type { Atelier } from '../test/support/atelier.ts'
import { compareWithRivals, deployed } from './compare.ts'
import type { Row } from './measure.ts'
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
  const backend = await jsonServer(await atelier.directory(), { 'cache-control': cacheControl })
  const start = async () => nginxCacheBefore('nginx proxy_cache', await atelier.directory(), backend)
  return compareWithRivals('cached dynamic answer', target, [{ start, target: '≥ 0.9 / 1.1' }])
}
