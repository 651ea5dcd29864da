import { expect, test } from 'vitest'
import { mostPaths, pageFile, readStaticPaths } from './static-paths.ts'

const read = (...paths: unknown[]) => readStaticPaths([{ name: 'staticPaths', paths }])

test.each([
  ['/', 'index.html', '/'],
  ['/about', 'about.html', '/about'],
  ['/docs/', 'docs/index.html', '/docs/'],
  ['/docs/first', 'docs/first.html', '/docs/first'],
  ['/feed.xml', 'feed.xml', '/feed.xml'],
  ['/caf%C3%A9', 'café.html', '/caf%C3%A9'],
  ['/café', 'café.html', '/caf%C3%A9'],
  ['/two%20words', 'two words.html', '/two%20words'],
  ['/100%25', '100%.html', '/100%25'],
  ['/what%3F', 'what?.html', '/what%3F'],
  ['/v1.2', 'v1.2.html', '/v1.2'],
  ['/.well-known/security.txt', '.well-known/security.txt', '/.well-known/security.txt'],
])('%s is the page %s, and asked for as %s', (path, file, target) => {
  const [page] = read(path)
  expect(page && { file: pageFile(page), target: page.target }).toEqual({ file, target })
})

test.each<[string, unknown, string]>([
  ['no path', 7, 'must be a path in quotes, such as /about'],
  ['no slash', 'about', 'must start with /'],
  ['another host', '//evil.example', 'has an empty part (//)'],
  ['a way up', '/../etc/passwd', 'has . or .. in it'],
  ['an encoded way up', '/%2e%2e/etc', 'has . or .. in it'],
  ['an encoded slash', '/a%2Fb', 'has an encoded separator in it'],
  ['an encoded end', '/a%00', 'has an encoded separator in it'],
  ['a backslash', '/a\\b', 'must be one word; write a space as %20'],
  ['a line break', '/a\nSet-Cookie: x', 'must be one word; write a space as %20'],
  ['an encoded line break', '/a%0Ab', 'has a control character in it'],
  ['a query', '/a?b=1', 'must be without a query: one file answers whatever the query is'],
  ['bad escapes', '/100%', 'is not percent-encoded UTF-8; write a % as %25'],
  ['half a character', '/\ud800', 'is not percent-encoded UTF-8; write a % as %25'],
  ['a hidden file', '/.env', 'is the name of a hidden file, which is never served'],
  ['index', '/docs/index', 'ends in /index; write /docs/'],
  ['no end', `/${'a'.repeat(1000)}`, 'is longer than 1,000 characters'],
])('%s is refused by name', (_, path, problem) => {
  expect(() => read('/fine', path)).toThrow(/^staticPaths\[1\]: /)
  expect(() => read('/fine', path)).toThrow(problem)
})

test('two paths of one file are refused, the same path twice is one page', () => {
  expect(read('/about', '/about')).toHaveLength(1)
  expect(() => read('/about', '/about.html')).toThrow(
    'staticPaths[1]: "/about.html" would be the file about.html, as "/about" is',
  )
  expect(() => read('/about', '/%61bout')).toThrow('would be the file about.html, as "/about" is')
  expect(read('/docs', '/docs/').map(pageFile)).toEqual(['docs.html', 'docs/index.html'])
})

test('more paths than can be rendered are refused by their number', () => {
  const paths = Array.from({ length: 100_000 }, (_, at) => `/p/${at}`)
  expect(() => read(...[], ...paths.slice(0, 5))).not.toThrow()
  expect(() => readStaticPaths([{ name: 'staticPaths', paths }])).toThrow(
    'staticPaths lists 100000 paths; at most 10000 can be prerendered',
  )
  const half = paths.slice(0, mostPaths - 1)
  const sources = [
    { name: 'build.static.paths', paths: half },
    { name: 'staticPaths', paths: ['/q', '/r'] },
  ]
  expect(() => readStaticPaths(sources)).toThrow('10001 paths are listed; at most 10000 can be prerendered')
})

test('ten of many problems are shown', () => {
  const thrown = () => read(...Array.from({ length: 30 }, (_, at) => `p${at}`))
  expect(thrown).toThrow(/^staticPaths\[0\]: "p0" must start with \/\n {2}staticPaths\[1\]/)
  expect(thrown).toThrow(/staticPaths\[9\].*\n {2}and 20 more$/)
})
