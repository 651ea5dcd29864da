import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

const types = {
  'console.html': 'text/html; charset=utf-8',
  'console.js': 'text/javascript; charset=utf-8',
  'dom.js': 'text/javascript; charset=utf-8',
  'rollouts.js': 'text/javascript; charset=utf-8',
  'access.js': 'text/javascript; charset=utf-8',
  'console.css': 'text/css; charset=utf-8',
}

/** One of the console's files. */
export async function page(file: keyof typeof types): Promise<Response> {
  const content = await readFile(join(import.meta.dirname, 'page', file), 'utf8')
  return new Response(content, { headers: { 'content-type': types[file] } })
}
