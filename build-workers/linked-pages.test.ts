import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { packPages, readPage } from './pack-pages.ts'

const scratch = mkdtempSync(join(tmpdir(), 'atl-links-'))
let made = 0
afterAll(() => rmSync(scratch, { recursive: true }))

test('a link to a folder is that folder under another name, and links in it lead where they lead', async () => {
  const paths = await pack(
    { 'v2/a.html': 'A', 'v2/deep/b.html': 'B' },
    { latest: 'v2', 'v2/again': 'deep', top: 'latest/deep' },
  )
  expect(paths).toEqual({
    'latest/a.html': 'A',
    'latest/again/b.html': 'B',
    'latest/deep/b.html': 'B',
    'top/b.html': 'B',
    'v2/a.html': 'A',
    'v2/again/b.html': 'B',
    'v2/deep/b.html': 'B',
  })
})

test('a large file behind a link is published too', async () => {
  const large = 'x'.repeat(5_000_000)
  expect(await pack({ 'media/film.bin': large }, { 'film.bin': 'media/film.bin', all: 'media' })).toEqual({
    'all/film.bin': large,
    'film.bin': large,
    'media/film.bin': large,
  })
})

test('links that each lead twice through the next do not hold up whoever packs them', async () => {
  const links: Record<string, string> = { a: 'd/l60', 'd/l0': '.' }
  for (let index = 1; index <= 60; index++) links[`d/l${index}`] = `l${index - 1}/l${index - 1}`
  const startedAt = performance.now()
  await expect(pack({ 'd/x': '' }, links)).rejects.toThrow('a is a symlink that leads through more than 40 links')
  links['a'] = 'd/l30'
  await expect(pack({ 'd/x': '' }, links)).rejects.toThrow('leads through more than 40 links')
  expect(performance.now() - startedAt).toBeLessThan(5_000)
})

test('what is private is so under every name', async () => {
  const paths = await pack({ 'a/.env': 'SECRET', 'a/b.txt': 'b', 'c/d.txt': '' }, { e: 'a', node_modules: 'c' })
  expect(Object.keys(paths)).toEqual(['a/b.txt', 'c/d.txt', 'e/b.txt'])
})

test.each([
  [
    'a folder that holds the link',
    { 'd/a': '' },
    { 'd/up': '..' },
    'd/up is a symlink to "..", a folder that holds it',
  ],
  ['its own folder', { 'd/a': '' }, { 'd/self': '.' }, 'd/self is a symlink to ".", a folder that holds it'],
  ['each other’s folders', { 'd/a': '', 'e/a': '' }, { 'd/e': '../e', 'e/d': '../d' }, 'a folder that holds it'],
  ['each other', { a: '' }, { b: 'c', c: 'b' }, 'in a circle'],
  ['nothing', { a: '' }, { b: 'nowhere' }, 'b is a symlink to "nowhere", which is not published'],
  [
    'what is private',
    { '.git/config': 'x', a: '' },
    { git: '.git' },
    'git is a symlink to ".git", which is not published',
  ],
])('a link to %s is refused', async (_, files, links, message) => {
  await expect(pack(files, links)).rejects.toThrow(message)
})

test.each(['/etc', '../../etc', '/etc/passwd', 'd/../../etc'])(
  'A4: a link out of the tree (%s) is refused',
  async (target) => {
    await expect(pack({ 'd/a': '' }, { out: target })).rejects.toThrow('outside what is published')
  },
)

test('folders of links to folders of links end at the limit, in no time', async () => {
  const links = Object.fromEntries(
    Array.from({ length: 40 }, (_, depth) => [0, 1].map((n) => [`d${depth}/l${n}`, `../d${depth + 1}`])).flat(),
  )
  await expect(pack({ 'd40/a': '' }, links)).rejects.toThrow('symlinks lead to more than 1000 files')
})

async function pack(files: Record<string, string>, links: Record<string, string>): Promise<Record<string, string>> {
  const root = join(scratch, String(made++))
  const place = (path: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    return join(root, path)
  }
  for (const [path, content] of Object.entries(files)) writeFileSync(place(path), content)
  for (const [path, target] of Object.entries(links)) symlinkSync(target, place(path))
  const skip = (path: string) => /(^|\/)(\.|node_modules$)/.test(path)
  const part = { root, from: '', below: '', skip }
  const pages = await packPages([part], { uid: null, maxFiles: 1000 })
  const read = await Promise.all(pages.map(async (page) => [page.path, (await readPage(page)).toString()]))
  return Object.fromEntries(read)
}
