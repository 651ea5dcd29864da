import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkout } from '../test/support/platform.ts'
import type { Files } from '../test/support/repo.ts'
import type { Recipe } from './by-hand.ts'

export type BenchApp = {
  name: string
  files: Files
  /** The files that make the page say `text`. */
  saying(text: string): Files
  byHand: Recipe
  target: string
}

const node = process.execPath

const fileServer = `import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
createServer(async (_request, response) => response.end(await readFile(process.argv[2] + '/index.html'))).listen(process.env.PORT)
`

const staticApp: BenchApp = {
  name: 'static',
  files: { 'style.css': 'body { margin: 2rem }' },
  saying: (text) => ({ 'index.html': `<!doctype html><title>bench</title><p>${text}</p>` }),
  byHand: { build: 'true', serve: `${node} ../bench-file-server.mjs .` },
  target: '≤ 0.8 / 0.4 s',
}

const honoApp = async (): Promise<BenchApp> => ({
  name: 'hono',
  files: {
    'package.json': await exampleFile('hono', 'package.json'),
    'package-lock.json': await exampleFile('hono', 'package-lock.json'),
  },
  saying: (text) => ({
    'src/index.ts': `import { Hono } from 'hono'\nconst app = new Hono()\napp.get('/', (c) => c.text(${JSON.stringify(text)}))\nexport default app\n`,
  }),
  byHand: {
    build: `cmp -s package-lock.json .installed || { npm ci --silent && cp package-lock.json .installed; }\n${join(checkout, 'node_modules/.bin/esbuild')} src/index.ts --bundle --platform=node --format=esm --outfile=bundle.mjs --log-level=error`,
    serve: `${node} ../bench-fetch-server.mjs ./bundle.mjs`,
  },
  target: '≤ 1.0 / 0.6 s',
})

const expressApp = async (): Promise<BenchApp> => ({
  name: 'express',
  files: {
    'package.json': await exampleFile('express', 'package.json'),
    'package-lock.json': await exampleFile('express', 'package-lock.json'),
    ...(await exampleSources('express')),
  },
  saying: (text) => ({
    'server.js': `const express = require('express')\nexpress().get('/', (request, response) => response.send(${JSON.stringify(text)})).listen(process.env.PORT)\n`,
  }),
  byHand: {
    build: 'cmp -s package-lock.json .installed || { npm ci --silent --omit=dev && cp package-lock.json .installed; }',
    serve: `${node} server.js`,
  },
  target: '≤ 2 / 1 s',
})

const fetchServer = `import { createServer } from 'node:http'
const app = (await import(process.cwd() + '/' + process.argv[2])).default
createServer(async (request, response) => {
  const answer = await app.fetch(new Request('http://x' + request.url, { method: request.method }))
  response.end(Buffer.from(await answer.arrayBuffer()))
}).listen(process.env.PORT)
`

export const helperServers: Files = { 'bench-file-server.mjs': fileServer, 'bench-fetch-server.mjs': fetchServer }

export async function benchApps(): Promise<BenchApp[]> {
  return [staticApp, await honoApp(), await expressApp()]
}

function exampleFile(example: string, path: string): Promise<string> {
  return readFile(join(checkout, 'examples', example, path), 'utf8')
}

async function exampleSources(example: string): Promise<Files> {
  const names = (await readdir(join(checkout, 'examples', example))).filter((name) => /\.(js|cjs|mjs)$/.test(name))
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await exampleFile(example, name)] as const)),
  )
}
