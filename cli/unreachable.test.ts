import { expect, test } from 'vitest'
import { whoAnswered, whyUnreachable } from './unreachable.ts'

const failing = (code: string) => Object.assign(new Error('failed'), { code })

test.each([
  ['http://api.localhost:8080', 'ECONNREFUSED', 'start it with: atelier up'],
  ['https://api.example.com', 'ECONNREFUSED', 'is it running'],
  ['https://api.exmaple.com', 'ENOTFOUND', 'the name api.exmaple.com is not known'],
  ['https://api.example.com', 'ETIMEDOUT', 'firewall'],
  ['https://api.example.com', 'CERT_HAS_EXPIRED', 'has expired'],
  ['https://api.example.com', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'NODE_EXTRA_CA_CERTS'],
  ['https://api.example.com:8080', 'EPROTO', 'is it http://api.example.com:8080?'],
  ['https://api.example.com', 'HPE_INVALID_CONSTANT', 'does not speak http'],
  ['https://api.example.com', 'EWEIRD', 'cannot be reached (EWEIRD)'],
])('%s and %s: %s', (api, code, part) => {
  expect(whyUnreachable(api, failing(code))).toContain(part)
})

test.each([
  [301, 'https://example.com/', 'leads on to https://example.com/'],
  [503, undefined, 'something before'],
  [407, undefined, 'sign in to it first'],
  [404, undefined, 'is a proxy in between?'],
])('an answer of %i that is no platform’s', (status, location, part) => {
  expect(whoAnswered('https://api.example.com', status, location)).toContain(part)
})
