import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { Visitors } from './visitors.ts'

const key = randomBytes(32).toString('base64')
const visitors = new Visitors(key)
const someone = '0b9f2c1e-1111-4222-8333-abcdefabcdef'
const cookieOf = (known: Visitors, route: string, id = someone) => known.cookieFor(route, id, 'http').split(';')[0]

test('a visitor is known again by the cookie, on every proxy that has the key', () => {
  const { id, isKnown } = visitors.of('route', undefined)
  expect(isKnown).toBe(false)
  const cookies = `a=1; ${cookieOf(visitors, 'route', id)}; b=2`
  expect(visitors.of('route', cookies)).toEqual({ id, isKnown: true })
  expect(new Visitors(key).of('route', cookies)).toEqual({ id, isKnown: true })
})

test('the cookie is for the host that set it alone, and no script sees it', () => {
  const cookie = visitors.cookieFor('route', someone, 'http')
  expect(cookie).toMatch(/; Path=\/; Max-Age=604800; HttpOnly; SameSite=Lax$/)
  expect(cookie.toLowerCase()).not.toContain('domain')
  expect(visitors.cookieFor('route', someone, 'https')).toBe(`${cookie}; Secure`)
})

test('no cookie but one that was given is taken for a visitor', () => {
  const own = cookieOf(visitors, 'route') ?? ''
  expect(visitors.of('route', own).isKnown).toBe(true)
  const signature = own.split('.')[1]
  for (const hostile of [
    '',
    'atelier_visitor=',
    `atelier_visitor=${someone}`,
    `atelier_visitor=1${someone.slice(1)}.${signature}`,
    `atelier_visitor=${someone}.${'A'.repeat(22)}`,
    `atelier_visitor=${someone}.${signature}x`,
    `atelier_visitor=${someone.slice(1)}.${signature}`,
    `x${own}`,
    `"${own}"`,
    `atelier_visitor=${'a'.repeat(8_000)}.${signature}`,
    'atelier_visitor=<script>.\u0000',
    cookieOf(visitors, 'another-route'),
    cookieOf(new Visitors(randomBytes(32).toString('base64')), 'route'),
  ])
    expect(visitors.of('route', hostile).isKnown, hostile).toBe(false)
})

test('a cookie of the same name that an app has set for a path hides nobody, and a hundred of them cost no more than four', () => {
  const own = cookieOf(visitors, 'route')
  const foreign = `atelier_visitor=${'a'.repeat(36)}.${'b'.repeat(22)}`
  expect(visitors.of('route', `${foreign}; ${own}`).isKnown).toBe(true)
  expect(visitors.of('route', `${Array.from({ length: 100 }, () => foreign).join('; ')}; ${own}`).isKnown).toBe(false)
})
