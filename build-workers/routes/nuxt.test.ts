import { expect, test } from 'vitest'
import { filesOf } from './files.ts'
import { scanNuxt } from './nuxt.ts'
import { listRoutes } from './scan.ts'

const listed = (files: Record<string, string>) => {
  const { routes } = listRoutes(scanNuxt(filesOf(files)), { framework: 'nuxt', pages: [], ofApp: null })
  return { routes, shown: routes.map(({ kind, path, methods }) => [kind, path, methods?.join(' ') ?? null]) }
}

test.each(['app/pages', 'pages'])('pages in %s and handlers of the server are found', (folder) => {
  const { routes, shown } = listed({
    'nuxt.config.ts': 'export default defineNuxtConfig({})\n',
    [`${folder}/index.vue`]: "<script setup>useHead({ title: 'Home' })</script>",
    [`${folder}/blog/[slug].vue`]: '',
    [`${folder}/(shop)/cart.client.vue`]: '',
    [`${folder}/[...rest].vue`]: '',
    'server/api/word.ts': '',
    'server/api/send.post.ts': '',
    'server/api/users/[id].get.ts': '',
    'server/api/index.get.ts': '',
    'server/routes/plain.get.ts': '',
    'server/routes/feed/[...].ts': '',
    'server/middleware/log.ts': '',
  })
  expect(shown).toEqual([
    ['page', '/', 'GET'],
    ['page', '/*rest', 'GET'],
    ['api', '/api', 'GET'],
    ['api', '/api/send', 'POST'],
    ['api', '/api/users/:id', 'GET'],
    ['api', '/api/word', null],
    ['page', '/blog/:slug', 'GET'],
    ['page', '/cart', 'GET'],
    ['api', '/feed/*', null],
    ['api', '/plain', 'GET'],
  ])
  expect(routes[0]).toMatchObject({ title: 'Home', marks: ['metadata'] })
})

test('an app without pages is one page, below its baseURL', () => {
  const config = "export default defineNuxtConfig({ app: { baseURL: '/shop/' } })\n"
  expect(listed({ 'nuxt.config.ts': config, 'app/app.vue': '' }).shown).toEqual([['page', '/shop', 'GET']])
})
