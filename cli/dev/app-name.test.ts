import { expect, test } from 'vitest'
import { slugOf } from './app-name.ts'

test.each([
  ['hello', 'hello'],
  ['@acme/Shop Front', 'shop-front'],
  ['2048-game', 'game'],
  ['my_app.js', 'my-app-js'],
  ['site-pr-42', 'site-42'],
  ['fix-git-login', 'fix-login'],
  ['x'.repeat(60), 'x'.repeat(38)],
  ['日本', null],
  ['', null],
])('%j is called %j', (text, name) => {
  expect(slugOf(text)).toBe(name)
})
