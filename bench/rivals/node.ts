import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Program } from './rival.ts'

/** What every side of a comparison answers with. */
export const answer = `{ hello: 'world', this: 'is', an: 'answer', of: 'sixty-eight', b: 1 }`

/** A Node program behind a rival, on a unix socket as its handbook advises. */
export type Backend = Program & { socket: string }

/** A bare Node server with the JSON handler, and further headers. */
export async function jsonServer(directory: string, headers: Record<string, string> = {}): Promise<Backend> {
  const file = join(directory, 'server.mjs')
  const source = `import { createServer } from 'node:http'
    const headers = new Map(Object.entries(${JSON.stringify({ 'content-type': 'application/json', ...headers })}))
    createServer((_, response) => response.setHeaders(headers).end(JSON.stringify(${answer}))).listen(process.env.PORT)`
  await writeFile(file, source)
  return nodeProgram(directory, file)
}

/** A program of the app's own that listens where PORT says, as production. */
export function nodeProgram(directory: string, file: string): Backend {
  const socket = join(directory, 'node.sock')
  return { socket, file: process.execPath, args: [file], cwd: directory, env: { PORT: socket, NODE_ENV: 'production' } }
}
