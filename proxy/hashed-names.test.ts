import { expect, test } from 'vitest'
import { isHashedName } from './hashed-names.ts'

test.each([
  'assets/index-BxY12_aZ.js',
  'assets/index-DiwrgTda.css',
  'assets/my-page-DkfGh12x.js.map',
  'assets/logo-C4-_x9Qa.svg',
  '_next/static/chunks/webpack-1a2b3c4d5e6f7a8b.js',
  '_next/static/Xf3kQ/_buildManifest.js',
  '_app/immutable/entry/start.js',
  '_astro/hoisted.D7x2bQ9f.js',
  '_nuxt/entry.Bk3_d9Xq.js',
  'static/js/main.3f2a91c4.js',
  'main.3f2a91c4.css',
  'chunk-A5BC2D7E.js',
  'js/chunk-ABCDEF27.js',
])('%s is named by its content', (path) => {
  expect(isHashedName(path)).toBe(true)
})

test.each([
  'index.html',
  'assets/index-BxY12_aZ.html',
  'favicon.ico',
  'robots.txt',
  'js/jquery-migrate.js',
  'css/bootstrap-responsive.css',
  'assets/logo-Homepage.png',
  'assets/logo-iPhone12.png',
  'assets/book-chapter1.png',
  'images/photo-20240101.jpg',
  'images/photo-12345678.jpg',
  'assets/hero-dark-bg.png',
  'js/vendor.min.js',
  'my-Document1.pdf',
  'service-worker.js',
  'assets/SOME-DOCUMENT.pdf',
  'downloads/release-deadbeef.zip',
])('%s may change under its name', (path) => {
  expect(isHashedName(path)).toBe(false)
})
