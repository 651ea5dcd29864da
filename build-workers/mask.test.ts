import { expect, test } from 'vitest'
import { createMask } from './mask.ts'

const secret = 'p@ss/word+12 3'
const mask = createMask({
  DATABASE_URL: secret,
  SHORT: 'abc',
  NODE_ENV: 'production',
  VITE_API: 'https://api.example.com',
  KEY: '-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----',
})

test.each<[string, string]>([
  [`connecting to ${secret}!`, 'connecting to [DATABASE_URL]!'],
  [`${secret}${secret}`, '[DATABASE_URL][DATABASE_URL]'],
  [Buffer.from(secret).toString('base64'), '[DATABASE_URL]='],
  [`url ${encodeURIComponent(secret)}`, 'url [DATABASE_URL]'],
  ['MIIEvQIBADANBg', '[KEY]'],
  ['abc in production at https://api.example.com', 'abc in production at https://api.example.com'],
])('%s is shown as %s', (line, shown) => {
  expect(mask(line)).toBe(shown)
})

test('nothing to hide, nothing hidden', () => {
  expect(createMask({})('x')).toBe('x')
})
