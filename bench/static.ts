import type { Atelier } from '../test/support/atelier.ts'
import { compareWithRivals, deployed } from './compare.ts'
import type { Row } from './measure.ts'
import { caddyFiles } from './rivals/caddy.ts'
import { nginxFiles } from './rivals/nginx.ts'

const path = '/page.txt'
const page = 'fourteen kilobytes of text, no more.\n'.repeat(388)

/** A file of 14 kB from a site, and the same file from nginx and Caddy. Nobody compresses: wrk does not ask for it. */
export async function measureStatic(atelier: Atelier): Promise<Row[]> {
  const files = { 'index.html': '<!doctype html>', 'page.txt': page }
  const target = await deployed(atelier, 'edge-static', files, path)
  const root = await atelier.directory(files)
  return compareWithRivals('static file of 14 kB', target, [
    { target: '≥ 0.9 / 1.1', start: async () => nginxFiles('nginx', await atelier.directory(), root, path) },
    { target: '≥ 3 / 4', start: async () => caddyFiles('Caddy', await atelier.directory(), root, path) },
  ])
}
