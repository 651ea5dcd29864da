import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PathPattern } from './path-pattern.ts'

const take = (pattern: string, path: string) => {
  const captures = new PathPattern(pattern).match(path)
  return captures && Object.fromEntries(captures)
}

test.each([
  ['/', '/', {}],
  ['/about', '/about', {}],
  ['/about', '/about/', {}],
  ['/about/', '/about', {}],
  ['/about', '/about/us', null],
  ['/About', '/about', null],
  ['/caf%C3%A9', '/café', {}],
  ['/*', '/', { splat: '' }],
  ['/*', '/a/b', { splat: 'a/b' }],
  ['/blog/*', '/blog', { splat: '' }],
  ['/blog/*', '/blogs', null],
  ['/blog/*', '/blog//evil.com', { splat: '/evil.com' }],
  ['/*.pdf', '/a/b.pdf', { splat: 'a/b' }],
  ['/*.pdf', '/.pdf', { splat: '' }],
  ['/a*a', '/a', null],
  ['/img-*', '/img-1/2', { splat: '1/2' }],
  ['/:year/:slug', '/2024/hello', { year: '2024', slug: 'hello' }],
  ['/:year/:slug', '/2024/', null],
  ['/:year/:slug/', '/2024/hello', { year: '2024', slug: 'hello' }],
  ['/blog/:year/*', '/blog/2024/a/b', { year: '2024', splat: 'a/b' }],
  ['/blog/:year/*', '/blog//a', null],
  ['/u/:__proto', '/u/x', 'refused'],
  ['about', '', 'refused'],
  ['/a/*/b/*', '', 'refused'],
  ['/*/:id', '', 'refused'],
  ['/:id/:id', '', 'refused'],
  ['/:1', '', 'refused'],
  ['/a?b=c', '', 'refused'],
  ['/a%2fb', '', 'refused'],
  ['/a%ff', '', 'refused'],
  ['/a\\b', '', 'refused'],
])('%s takes from %s: %j', (pattern, path, expected) => {
  if (expected === 'refused') expect(() => new PathPattern(pattern)).toThrow()
  else expect(take(pattern, path)).toEqual(expected)
})

test('captures can be put back: what was taken and what is plain are the path', () => {
  const segment = fc.stringMatching(/^[a-z0-9.-]{1,8}$/)
  fc.assert(
    fc.property(
      fc.array(segment, { minLength: 1, maxLength: 6 }),
      fc.array(fc.boolean()),
      segment,
      (names, marks, rest) => {
        const pattern = names.map((name, index) => (marks[index] ? `/:p${index}` : `/${name}`)).join('')
        const path = `/${names.join('/')}`
        const captures = new PathPattern(`${pattern}/*`).match(`${path}/${rest}`)
        expect(captures?.get('splat')).toBe(rest)
        for (const [index, name] of names.entries()) if (marks[index]) expect(captures?.get(`p${index}`)).toBe(name)
      },
    ),
  )
})
