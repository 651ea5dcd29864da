import { expect, test } from 'vitest'
import { defaultAppConfig, readAppConfig } from './app-config.ts'
import { detectFramework, whatIsLookedFor } from './framework.ts'
import { readPackageJson } from './package-json.ts'
import { treeOf } from './source-tree.ts'

const fetchEntry = "import { Hono } from 'hono'\nconst app = new Hono()\nexport default app\n"
const listener = "const http = require('http')\nhttp.createServer((q, s) => s.end('hi')).listen(process.env.PORT)\n"

type Files = Record<string, string | object>
type Case = [name: string, files: Files, config: object, expected: object]

test.each<Case>([
  [
    'hapi',
    { 'package.json': { dependencies: { '@hapi/hapi': '21' } }, 'index.js': 'Hapi.server({ port: 3000 }).start()' },
    {},
    {
      framework: 'hapi',
      transform: 'server',
      entry: 'index.js',
      reason: 'hapi detected (@hapi/hapi in package.json, index.js)',
    },
  ],
  [
    'Vite chosen for what looks like a server',
    {
      'package.json': {
        dependencies: { express: '5' },
        devDependencies: { vite: '8' },
        scripts: { start: 'node server.js' },
      },
      'server.js': 'app.listen(1)',
    },
    { build: { framework: 'vite' } },
    { transform: 'site', tool: 'vite', output: 'dist', reason: 'Vite chosen (build.framework in atelier.config)' },
  ],
  [
    'a server chosen for what looks like Next.js',
    { 'package.json': { dependencies: { next: '16' } }, 'app/page.tsx': '', 'server.js': 'x.listen(1)' },
    { build: { framework: 'server' } },
    { transform: 'server', entry: 'server.js' },
  ],
  [
    'Next.js chosen, installed at the top of a workspace, started otherwise',
    { 'package.json': { scripts: { start: 'node cluster.js' } } },
    { build: { framework: 'next' } },
    { transform: 'next', reason: 'Next.js chosen (build.framework in atelier.config)' },
  ],
  [
    'Nuxt chosen in spite of a server',
    { 'package.json': { scripts: { start: 'node server.js' } }, 'server.js': 'x.listen(1)' },
    { build: { framework: 'nuxt' } },
    { framework: 'nuxt', transform: 'kit' },
  ],
  [
    'pages chosen beside a build tool',
    { 'package.json': { devDependencies: { vite: '8' } }, 'index.html': '' },
    { build: { framework: 'static' } },
    { transform: 'copy', reason: 'Static files chosen (build.framework in atelier.config)' },
  ],
  [
    'a fetch app chosen beside a page of Vite',
    {
      'package.json': { devDependencies: { vite: '8' } },
      'index.html': '',
      'src/index.ts': 'export default { fetch() {} }',
    },
    { build: { framework: 'fetch' } },
    { transform: 'bundle', entry: 'src/index.ts' },
  ],
  [
    'a plain folder',
    { 'index.html': '', 'app.js': 'document.title' },
    {},
    { transform: 'copy', root: '', reason: 'Static files detected (index.html)' },
  ],
  [
    'a public folder',
    { 'public/index.html': '' },
    {},
    { transform: 'copy', root: 'public', reason: 'Static files detected (public/index.html)' },
  ],
  ['a dist folder', { 'dist/index.html': '' }, {}, { transform: 'copy', root: 'dist' }],
  [
    'a folder the config names',
    { 'www/index.html': '' },
    { build: { output: 'www' } },
    { transform: 'copy', root: 'www' },
  ],
  [
    'a static page with its own tooling',
    { 'index.html': '', 'package.json': { devDependencies: { prettier: '3' } } },
    {},
    { transform: 'copy' },
  ],
  [
    'Hono',
    { 'package.json': { dependencies: { hono: '4' } }, 'src/index.ts': fetchEntry },
    {},
    {
      framework: 'hono',
      transform: 'bundle',
      entry: 'src/index.ts',
      reason: 'Hono detected (hono in package.json, src/index.ts)',
    },
  ],
  [
    'Hono by main',
    { 'package.json': { main: './api.js', dependencies: { hono: '4' } }, 'api.js': fetchEntry },
    {},
    { transform: 'bundle', entry: 'api.js' },
  ],
  [
    'Hono by build.entry',
    { 'package.json': { dependencies: { hono: '4' } }, 'lib/x.ts': fetchEntry },
    { build: { entry: 'lib/x.ts' } },
    { entry: 'lib/x.ts', reason: 'Hono detected (hono in package.json, build.entry: lib/x.ts)' },
  ],
  [
    'a bare fetch app without package.json',
    { 'index.js': 'export default { fetch: () => new Response("hi") }' },
    {},
    {
      framework: 'fetch',
      transform: 'bundle',
      entry: 'index.js',
      reason: 'fetch app detected (default export with fetch in index.js)',
    },
  ],
  [
    'a fetch app beside pages',
    { 'index.html': '', 'src/index.ts': 'export default { async fetch(request) {} }' },
    {},
    { transform: 'bundle' },
  ],
  [
    'Hono on Node',
    {
      'package.json': {
        scripts: { build: 'tsc', start: 'node dist/index.js' },
        dependencies: { hono: '4', '@hono/node-server': '1' },
      },
      'src/index.ts': "import { serve } from '@hono/node-server'\nserve(app)",
    },
    {},
    { framework: 'node-server', transform: 'server', entry: 'dist/index.js', build: true },
  ],
  [
    'Vite',
    {
      'package.json': {
        devDependencies: { vite: '8', '@vitejs/plugin-react': '5' },
        dependencies: { react: '19' },
        scripts: { build: 'tsc -b && vite build' },
      },
      'vite.config.ts': 'export default {}',
      'index.html': '',
    },
    {},
    {
      framework: 'vite',
      transform: 'site',
      tool: 'vite',
      output: 'dist',
      reason: 'Vite + React detected (vite in package.json, vite.config.ts)',
    },
  ],
  [
    'Vite without a config',
    { 'package.json': { devDependencies: { vite: '8' } }, 'index.html': '' },
    {},
    { transform: 'site', output: 'dist', reason: 'Vite detected (vite in package.json, index.html)' },
  ],
  [
    'Vite with an outDir',
    {
      'package.json': { devDependencies: { vite: '8', vue: '3' } },
      'vite.config.js': "export default { build: { outDir: './build/web' } }",
      'index.html': '',
    },
    {},
    { output: 'build/web' },
  ],
  [
    'Vite with a root',
    {
      'package.json': { devDependencies: { vite: '8' }, scripts: { build: 'vite build' } },
      'vite.config.js': "export default {\n  root: 'client',\n  build: { outDir: '../public' },\n}",
    },
    {},
    { output: 'public' },
  ],
  [
    'Vite with build.output',
    { 'package.json': { devDependencies: { vite: '8' } }, 'index.html': '' },
    { build: { output: 'out' } },
    { output: 'out' },
  ],
  [
    'Vite in the scaffold of svelte',
    { 'package.json': { devDependencies: { vite: '8', svelte: '5' } }, 'vite.config.ts': '', 'index.html': '' },
    {},
    { reason: 'Vite + Svelte detected (vite in package.json, vite.config.ts)' },
  ],
  [
    'an Express server with Vite pages',
    {
      'package.json': {
        dependencies: { express: '5' },
        devDependencies: { vite: '8' },
        scripts: { build: 'vite build', start: 'node server.js' },
      },
      'index.html': '',
      'server.js': listener,
    },
    {},
    { framework: 'express', transform: 'server', build: true },
  ],
  [
    'Next.js',
    {
      'package.json': {
        dependencies: { next: '16', react: '19' },
        devDependencies: { vite: '8', vitest: '5' },
        scripts: { build: 'next build', start: 'next start -p 4000' },
      },
      'next.config.ts': 'export default {}',
      'app/page.tsx': '',
      'index.html': '',
    },
    {},
    {
      framework: 'next',
      transform: 'next',
      dist: '.next',
      asProcess: false,
      notes: [],
      reason: 'Next.js detected (next in package.json, next.config.ts)',
    },
  ],
  [
    'Next.js without a config or scripts',
    { 'package.json': { dependencies: { next: '16' } }, 'src/pages/index.js': '' },
    {},
    { transform: 'next', reason: 'Next.js detected (next in package.json, src/pages)' },
  ],
  [
    'Next.js with a folder of its own for what it builds, started as its documentation says',
    {
      'package.json': { dependencies: { next: '16' }, scripts: { start: 'node .next/standalone/server.js' } },
      'next.config.mjs': "// distDir: 'no'\nexport default { output: 'standalone', distDir: './build' }",
    },
    {},
    { transform: 'next', dist: 'build' },
  ],
  [
    'Next.js behind a migration',
    {
      'package.json': { dependencies: { next: '16' }, scripts: { start: 'prisma migrate deploy && next start' } },
      'app/page.js': '',
    },
    {},
    {
      transform: 'next',
      notes: ['not run of the start command: all but Next.js (start script: prisma migrate deploy && next start)'],
    },
  ],
  [
    'Next.js in a server of its own',
    {
      'package.json': { dependencies: { next: '16' }, scripts: { build: 'next build', start: 'node server.js' } },
      'next.config.js': '',
      'server.js': listener,
    },
    {},
    { transform: 'server', entry: 'server.js', build: true },
  ],
  [
    'Next.js with build.kind process',
    { 'package.json': { dependencies: { next: '16' } }, 'app/page.js': '' },
    { build: { kind: 'process' } },
    { transform: 'next', asProcess: true, notes: ['runs as a process, as build.kind in atelier.config says'] },
  ],
  [
    'Next.js with a build of its own',
    { 'package.json': { dependencies: { next: '16' } }, 'app/page.js': '' },
    { build: { script: 'npx next build', output: 'out' } },
    { transform: 'script' },
  ],
  [
    'Astro',
    { 'package.json': { dependencies: { astro: '6' } }, 'astro.config.mjs': '' },
    {},
    { framework: 'astro', transform: 'kit', command: null, reason: 'Astro detected (astro in package.json)' },
  ],
  [
    'Astro with a server of its own',
    {
      'package.json': { dependencies: { astro: '6', express: '5' }, scripts: { start: 'node ./server.js' } },
      'astro.config.mjs': '',
      'server.js': listener,
    },
    {},
    { framework: 'express', transform: 'server', entry: 'server.js' },
  ],
  [
    'SvelteKit, started by what it builds',
    {
      'package.json': {
        devDependencies: { '@sveltejs/kit': '2', vite: '8' },
        scripts: { build: 'vite build', start: 'node build' },
      },
      'vite.config.ts': '',
    },
    {},
    { framework: 'sveltekit', transform: 'kit', reason: 'SvelteKit detected (@sveltejs/kit in package.json)' },
  ],
  [
    'Nuxt',
    { 'package.json': { dependencies: { nuxt: '4', vue: '3' }, scripts: { build: 'nuxt build', dev: 'nuxt dev' } } },
    {},
    { framework: 'nuxt', transform: 'kit', command: null },
  ],
  [
    'React Router',
    {
      'package.json': {
        dependencies: { '@react-router/serve': '7' },
        devDependencies: { '@react-router/dev': '7', vite: '8' },
        scripts: { build: 'react-router build', start: 'react-router-serve ./build/server/index.js' },
      },
      'vite.config.ts': '',
    },
    {},
    { framework: 'react-router', transform: 'kit', command: 'react-router-serve ./build/server/index.js' },
  ],
  [
    'Angular',
    {
      'package.json': { dependencies: { '@angular/core': '21' }, scripts: { build: 'ng build', start: 'ng serve' } },
      'angular.json': {},
    },
    { build: { output: 'dist/web/browser' } },
    { framework: 'angular', transform: 'kit', kit: { leaves: [{ pages: 'dist/web/browser' }] } },
  ],
  [
    'Docusaurus',
    {
      'package.json': {
        dependencies: { '@docusaurus/core': '3', react: '19' },
        scripts: { start: 'docusaurus start', build: 'docusaurus build' },
      },
      'docusaurus.config.ts': '',
    },
    {},
    {
      framework: 'docusaurus',
      transform: 'site',
      output: 'build',
      reason: 'Docusaurus + React detected (@docusaurus/core in package.json, docusaurus.config.ts)',
    },
  ],
  [
    'VitePress',
    {
      'package.json': { devDependencies: { vitepress: '2' }, scripts: { 'docs:build': 'vitepress build docs' } },
      'docs/.vitepress/config.mts': '',
    },
    {},
    {
      framework: 'vitepress',
      output: 'docs/.vitepress/dist',
      build: { scripts: ['build', 'docs:build'], program: 'vitepress', args: ['build', 'docs'] },
    },
  ],
  [
    'VitePress at the top',
    { 'package.json': { devDependencies: { vitepress: '2' } }, '.vitepress/config.js': '' },
    {},
    { output: '.vitepress/dist', build: { args: ['build', '.'] } },
  ],
  [
    'Eleventy without a config',
    {
      'package.json': { scripts: { test: 'exit 1' }, main: 'index.js', devDependencies: { '@11ty/eleventy': '3' } },
      'index.html': '',
    },
    {},
    { framework: 'eleventy', output: '_site', build: { program: 'eleventy', args: [] } },
  ],
  [
    'Eleventy without scripts',
    { 'package.json': { devDependencies: { '@11ty/eleventy': '3' } }, 'eleventy.config.js': '', 'index.md': '' },
    {},
    { framework: 'eleventy', output: '_site', build: { program: 'eleventy', args: [] } },
  ],
  [
    'express-generator',
    {
      'package.json': { scripts: { start: 'node ./bin/www' }, dependencies: { express: '4' } },
      'bin/www': listener,
      'app.js': 'module.exports = app',
    },
    {},
    {
      framework: 'express',
      transform: 'server',
      entry: 'bin/www',
      build: false,
      reason: 'Express detected (express in package.json, start script: node ./bin/www)',
    },
  ],
  [
    'Fastify by its file',
    { 'package.json': { type: 'module', dependencies: { fastify: '5' } }, 'server.js': 'app.listen({ port: 3000 })' },
    {},
    {
      framework: 'fastify',
      entry: 'server.js',
      reason: 'Fastify detected (fastify in package.json, server.js listens)',
    },
  ],
  [
    'Koa by main',
    { 'package.json': { main: 'lib/run.js', dependencies: { koa: '3' } }, 'lib/run.js': 'app.listen(3000)' },
    {},
    { framework: 'koa', entry: 'lib/run.js' },
  ],
  [
    'Express with bin/www and no start script',
    { 'package.json': { dependencies: { express: '4' } }, 'app.js': 'module.exports = app', 'bin/www': listener },
    {},
    { entry: 'bin/www' },
  ],
  [
    'bare http by its file',
    { 'app.js': listener },
    {},
    { framework: 'node', entry: 'app.js', reason: 'Node server detected (app.js listens)' },
  ],
  [
    'bare http by its start script',
    {
      'package.json': { scripts: { start: 'NODE_ENV=production node --enable-source-maps web/run.mjs --port 80' } },
      'web/run.mjs': '',
    },
    {},
    {
      framework: 'process',
      transform: 'process',
      command: 'NODE_ENV=production node --enable-source-maps web/run.mjs --port 80',
      notes: ['runs as a process, for the start command has options'],
    },
  ],
  [
    'NODE_ENV=production, which holds anyway,',
    { 'package.json': { scripts: { start: 'cross-env NODE_ENV=production node run.js' } }, 'run.js': '' },
    {},
    { transform: 'server', entry: 'run.js', notes: [] },
  ],
  [
    'node .',
    { 'package.json': { main: 'run.js', scripts: { start: 'node .' } }, 'run.js': '' },
    {},
    { entry: 'run.js' },
  ],
  [
    'a start script that builds first',
    { 'package.json': { scripts: { build: 'tsc', start: 'npm run build && node dist/server' } }, 'src/server.ts': '' },
    {},
    { entry: 'dist/server', build: true },
  ],
  [
    'TypeScript started by tsx',
    {
      'package.json': { scripts: { start: 'tsx src/server.ts' }, dependencies: { express: '5' } },
      'src/server.ts': '',
    },
    {},
    { entry: 'src/server.ts' },
  ],
  [
    'a Procfile',
    { Procfile: 'worker: node w.js\nweb: node web.js\n', 'web.js': '' },
    {},
    { entry: 'web.js', reason: 'Node server detected (Procfile: node web.js)', asProcess: false },
  ],
  [
    'a Procfile that says more, before a start script that does not',
    {
      Procfile: '# how it runs\r\nweb: node --expose-gc web.js --port $PORT\r\nworker: node w.js\r\n',
      'package.json': { scripts: { start: 'node web.js' }, dependencies: { express: '5' } },
      'web.js': '',
    },
    {},
    {
      framework: 'express',
      transform: 'process',
      command: 'node --expose-gc web.js --port $PORT',
      reason: 'Express detected (express in package.json, Procfile: node --expose-gc web.js --port $PORT)',
      notes: ['runs as a process, for the start command needs a shell'],
      build: false,
    },
  ],
  [
    'a Procfile that names the start script',
    { Procfile: 'web: npm start\n', 'package.json': { scripts: { start: 'node web.js' } }, 'web.js': '' },
    {},
    { transform: 'server', entry: 'web.js', reason: 'Node server detected (Procfile: npm start)' },
  ],
  [
    'a Procfile beside a Vite site',
    {
      Procfile: 'web: bin/serve',
      'index.html': '',
      'package.json': { devDependencies: { vite: '8' }, scripts: { build: 'vite build' } },
    },
    {},
    { transform: 'process', command: 'bin/serve', build: true },
  ],
  [
    'a Vite site whose Procfile shows what was built',
    {
      Procfile: 'web: npx vite preview --port $PORT',
      'index.html': '',
      'package.json': { devDependencies: { vite: '8' } },
    },
    {},
    { transform: 'site' },
  ],
  [
    'scripts that run scripts',
    {
      'package.json': {
        scripts: {
          build: 'tsc -p .',
          prestart: 'npm run build && npm run migrate',
          migrate: 'prisma migrate deploy',
          start: 'yarn serve --silent',
          serve: 'NODE_ENV=production node dist/main.js',
        },
      },
    },
    {},
    {
      transform: 'process',
      command: 'prisma migrate deploy && NODE_ENV=production node dist/main.js --silent',
      notes: ['runs as a process, for the start command needs a shell'],
      build: true,
    },
  ],
  [
    'cross-env',
    { 'package.json': { scripts: { start: "cross-env TZ=UTC LABEL='a b' node run.js" } }, 'run.js': '' },
    {},
    {
      transform: 'process',
      command: "TZ=UTC LABEL='a b' node run.js",
      notes: [expect.stringContaining('sets variables')],
    },
  ],
  [
    'ts-node that is there in production',
    {
      'package.json': { scripts: { start: 'ts-node src/main.ts' }, dependencies: { 'ts-node': '10' } },
      'src/main.ts': '',
    },
    {},
    {
      transform: 'process',
      command: 'ts-node src/main.ts',
      notes: ['runs as a process, for the start command runs ts-node'],
    },
  ],
  [
    'tsx that is there for development, loaded by Node',
    {
      'package.json': { scripts: { start: 'node --import tsx src/main.ts' }, devDependencies: { tsx: '4' } },
      'src/main.ts': '',
    },
    {},
    { transform: 'server', entry: 'src/main.ts' },
  ],
  [
    'nest start',
    {
      'package.json': {
        scripts: { build: 'nest build', start: 'nest start' },
        dependencies: { '@nestjs/core': '11', '@nestjs/cli': '11' },
      },
      'src/main.ts': 'app.listen(3000)',
    },
    {},
    { framework: 'nest', transform: 'process', command: 'nest start', build: true },
  ],
  [
    'what nest new makes',
    {
      'package.json': {
        scripts: { build: 'nest build', start: 'nest start', 'start:prod': 'node dist/main' },
        dependencies: { '@nestjs/core': '11', '@nestjs/platform-express': '11' },
        devDependencies: { '@nestjs/cli': '11' },
      },
      'src/main.ts': 'app.listen(process.env.PORT ?? 3000)',
    },
    {},
    {
      framework: 'nest',
      transform: 'server',
      entry: 'dist/main',
      build: true,
      reason: 'NestJS detected (@nestjs/core in package.json, start script: nest start)',
    },
  ],
  [
    'a compiled program',
    { Procfile: 'web: ./bin/server --listen=$PORT', 'bin/server': '' },
    {},
    {
      framework: 'process',
      transform: 'process',
      reason: 'Start command detected (Procfile: ./bin/server --listen=$PORT)',
    },
  ],
  [
    'a folder of pages with a server for its author',
    { 'index.html': '', 'package.json': { scripts: { start: 'python3 -m http.server' } } },
    {},
    { transform: 'copy' },
  ],
  [
    'build.kind process, for a file',
    { 'package.json': { scripts: { start: 'node run.js' } }, 'run.js': '' },
    { build: { kind: 'process' } },
    {
      transform: 'server',
      entry: 'run.js',
      asProcess: true,
      notes: ['runs as a process, as build.kind in atelier.config says'],
    },
  ],
  [
    'build.kind process, for a command',
    { Procfile: 'web: a | b' },
    { build: { kind: 'process' } },
    { transform: 'process', command: 'a | b', notes: ['runs as a process, as build.kind in atelier.config says'] },
  ],
  [
    'build.kind server, for a command with options',
    { Procfile: 'web: node --enable-source-maps run.js', 'run.js': '' },
    { build: { kind: 'server' } },
    {
      transform: 'server',
      entry: 'run.js',
      asProcess: false,
      notes: [
        'not applied from the start command: --enable-source-maps',
        'runs as a server, as build.kind in atelier.config says',
      ],
    },
  ],
  [
    'a build script of the config with a start command',
    { Procfile: 'web: out/server' },
    { build: { script: 'make', kind: 'process' } },
    { transform: 'script', command: 'out/server', entry: null },
  ],
  [
    'a build script of the config',
    { 'package.json': {} },
    { build: { script: 'scripts/build.sh', output: 'out/' } },
    { framework: 'custom', transform: 'script', script: 'scripts/build.sh', output: 'out', entry: null },
  ],
])('%s is detected', (_, files, config, expected) => {
  expect(detect(files, config)).toMatchObject(expected)
})

test.each([
  'export default { fetch: () => new Response() }',
  'export default { async fetch(request: Request): Promise<Response> { return new Response() } }',
  'const fetch = () => new Response()\nexport default { fetch }',
  'class App {\n  #x = 1;\n  fetch(request) {\n return new Response() } }\nexport default new App()',
  'export default { port: 3000, fetch: app.fetch }',
])('%s is a fetch app', (text) => {
  expect(detect({ 'index.html': '', 'index.js': text }, {})).toMatchObject({ transform: 'bundle' })
})

test.each([
  'export default class Api { load() { return fetch("/api") } }',
  'export default () => { fetch("/api").then((r) => { r.json() }) }',
  'export default { load: async () => await fetch("/x"), save() {} }',
  '// export default { fetch() {} }',
])('%s is a script of a page', (text) => {
  expect(detect({ 'index.html': '', 'index.js': text }, {})).toMatchObject({ transform: 'copy' })
})

test.each<[string, Files, object, string]>([
  ['an empty commit', {}, {}, 'the commit holds no files'],
  ['a README alone', { 'README.md': '' }, {}, 'no kind of app was recognised; say what to run in atelier.config.ts'],
  [
    'Next.js in another folder',
    {
      'package.json': { dependencies: { next: '16' }, scripts: { build: 'next build', start: 'next start' } },
      'web/app/page.tsx': '',
    },
    {},
    'next is in package.json, and there is neither a next.config nor a folder app/ or pages/; for an app in a folder of a repository, name it with build.root',
  ],
  [
    'TanStack Start without a start script',
    { 'package.json': { devDependencies: { '@tanstack/react-start': '1', vite: '8' } }, 'vite.config.ts': '' },
    {},
    '@tanstack/react-start needs to say what it leaves',
  ],
  [
    'a workspace without build.root',
    {
      'package.json': { workspaces: ['apps/*', 'packages/*'], scripts: { build: 'turbo build' } },
      'apps/web/package.json': { dependencies: { next: '16' } },
      'apps/web/app/page.tsx': '',
      'apps/api/package.json': { dependencies: { express: '5' }, scripts: { start: 'node server.js' } },
      'apps/api/server.js': '',
      'packages/ui/package.json': { name: 'ui', main: 'index.js' },
      'packages/ui/index.js': 'export const a = 1',
    },
    {},
    'this is a repository of several packages; name the folder of the app with build.root in atelier.config.ts: apps/api, apps/web',
  ],
  ['Python', { 'requirements.txt': '', 'app.py': '' }, {}, 'this looks like Python (requirements.txt)'],
  [
    'Express without a file',
    { 'package.json': { dependencies: { express: '5' } } },
    {},
    'express is in package.json, and no file to start was found',
  ],
  [
    'a start script whose file is not there',
    { 'package.json': { scripts: { start: 'node x.js' } } },
    {},
    'the start script is "node x.js", and no file to start was found',
  ],
  ['Python with a Procfile', { Procfile: 'web: gunicorn app', 'requirements.txt': '' }, {}, 'this looks like Python'],
  [
    'a Procfile whose web: says nothing',
    { Procfile: 'web:   \nworker: x' },
    {},
    'the web: line of the Procfile names no command',
  ],
  [
    'a Procfile of a megabyte',
    { Procfile: `web: ${'x '.repeat(500_000)}` },
    {},
    'the Procfile is 977 kB long; it should be a few lines',
  ],
  [
    'a command of 9000 characters',
    { Procfile: `web: node ${'x'.repeat(9000)}` },
    {},
    'the web: line of the Procfile is longer than 8192 characters',
  ],
  [
    'a command with control characters',
    { Procfile: 'web: node a\u0000b' },
    {},
    'the web: line of the Procfile holds control characters',
  ],
  [
    'build.kind process and nothing to start',
    { 'index.html': '' },
    { build: { kind: 'process' } },
    "build.kind in atelier.config is 'process', and nothing says what to start; write a Procfile",
  ],
  [
    'an entry that is not there',
    { 'src/index.js': '' },
    { build: { entry: 'src/index.ts' } },
    'build.entry in atelier.config is src/index.ts, and there is no such file; did you mean src/index.js?',
  ],
  ['bun', {}, { build: { bundler: 'bun' } }, "build.bundler: 'bun' is not supported yet"],
  ['package.json that is no JSON', { 'package.json': '{ "name": }' }, {}, 'package.json cannot be read'],
])('%s is refused with what to do', (_, files, config, message) => {
  expect(() => detect(files, config)).toThrow(message)
})

test('what was looked for can be listed', () => {
  expect(whatIsLookedFor()).toHaveLength(8)
})

function detect(files: Files, config: object) {
  const tree = treeOf(
    Object.fromEntries(
      Object.entries(files).map(([path, content]) => [
        path,
        typeof content === 'string' ? content : JSON.stringify(content),
      ]),
    ),
  )
  const reading = readAppConfig(config)
  expect(reading.problems).toEqual([])
  return detectFramework({ tree, pkg: readPackageJson(tree), config: reading.config ?? defaultAppConfig })
}
