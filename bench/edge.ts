import type { Atelier } from '../test/support/atelier.ts'
import { compareWithRivals, deployed } from './compare.ts'
import type { Row } from './measure.ts'
import { haproxyBefore } from './rivals/haproxy.ts'
import { httpProxyBefore } from './rivals/http-proxy.ts'
import { nginxBefore } from './rivals/nginx.ts'
import { answer, jsonServer } from './rivals/node.ts'
import { workerdWith } from './rivals/workerd.ts'

const handler = `export default { fetch: () => Response.json(${answer}) }\n`

export const fetchApp = { 'index.js': handler, 'package.json': '{"type":"module"}' }

/** The same JSON handler as a fetch app behind the whole edge, as a Node server behind three proxies, and inside workerd. */
export async function measureEdge(atelier: Atelier): Promise<Row[]> {
  const target = await deployed(atelier, 'edge-fetch', fetchApp)
  const folder = () => atelier.directory()
  const node = async () => jsonServer(await folder())
  return compareWithRivals('fetch app through the whole edge', target, [
    { target: '≥ 0.75 / 1.1', start: async () => nginxBefore('nginx → Node', await folder(), await node()) },
    { target: '≥ 2.5 / 4', start: async () => httpProxyBefore('http-proxy → Node', await node()) },
    { target: '– / 1.0', start: async () => haproxyBefore('HAProxy → Node', await folder(), await node()) },
    { target: '– / 2', start: async () => workerdWith('workerd, same handler', await folder(), handler) },
  ])
}
