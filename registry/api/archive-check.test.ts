import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ArchiveCheck, type ArchiveEntry } from './archive-check.ts'

const limits = { files: 100, bytes: 1_000_000 }
const file = (path: string, size = 1): ArchiveEntry => ({ path, type: 'File', size })
const link = (path: string, linkpath: string): ArchiveEntry => ({ path, type: 'SymbolicLink', size: 0, linkpath })

function check(entries: ArchiveEntry[]): string[] {
  const checking = new ArchiveCheck(limits)
  return entries.map((entry) => checking.admit(entry)).filter((path) => path !== null)
}

test('an ordinary tree passes, with or without a leading ./ and with its folders named', () => {
  const tree = [
    { path: './', type: 'Directory', size: 0 },
    { path: './src/', type: 'Directory', size: 0 },
    file('./src/index.ts'),
    file('package.json'),
    link('latest.json', 'package.json'),
    link('src/up', '../package.json'),
    link('src/here', '.'),
    file('..dots/..also..'),
  ]
  expect(check(tree)).toHaveLength(tree.length - 1)
})

test("git's own folder and installed packages are left out, wherever and however written", () => {
  expect(
    check([
      file('.git/config'),
      file('vendor/x/.GIT/hooks/post-checkout'),
      file('node_modules/a/index.js'),
      file('app/node_modules/.bin/tool'),
      { path: 'a/.git', type: 'File', size: 4 },
      file('kept.txt'),
      file('.gitignore'),
    ]),
  ).toEqual(['kept.txt', '.gitignore'])
})

describe('A1: refused', () => {
  test.each<[string, ArchiveEntry[]]>([
    ['a path that climbs', [file('../evil')]],
    ['a path that climbs in the middle', [file('a/../../evil')]],
    ['an absolute path', [file('/etc/passwd')]],
    ['a path with an empty part', [file('a//b')]],
    ['a NUL in a name', [file('a\0b')]],
    ['a newline in a name', [file('a\nb')]],
    ['a C1 control character in a name', [file('a\u009bb')]],
    ['a backslash in a name', [file('..\\evil')]],
    ['a file without a name', [file('./')]],
    ['a name of two thousand characters', [file('a'.repeat(2000))]],
    ['a hard link', [{ path: 'a', type: 'Link', size: 0, linkpath: 'b' }]],
    ['a character device', [{ path: 'tty', type: 'CharacterDevice', size: 0 }]],
    ['a block device', [{ path: 'sda', type: 'BlockDevice', size: 0 }]],
    ['a pipe', [{ path: 'fifo', type: 'FIFO', size: 0 }]],
    ['an absolute link', [link('a', '/etc/passwd')]],
    ['a link out of the tree', [link('a', '../secret')]],
    ['a link out of the tree from a folder', [link('a/b', '../../secret')]],
    ['a link that climbs after going down', [link('z', 'p/q/c/../..')]],
    ['a link without a target', [link('a', '')]],
    ['a file below a link', [link('a', 'b'), file('a/c')]],
    ['a link where a folder is', [file('a/c'), link('a', '.')]],
    ['a file below a file', [file('a'), file('a/b')]],
    ['a name that stands twice', [file('a'), file('./a')]],
    ['more files than allowed', Array.from({ length: 101 }, (_, index) => file(`f${index}`))],
    ['more bytes than allowed', [file('a', 600_000), file('b', 600_000)]],
  ])('%s', (_, entries) => {
    expect(() => check(entries)).toThrow(/^the source/)
  })

  test('an archive of nothing', () => {
    expect(() => new ArchiveCheck(limits).finish()).toThrow('it holds no files')
  })
})

test('A1: whatever is admitted lies inside, by its name and by where its link leads', () => {
  const name = fc.array(fc.constantFrom('a', 'b', '.', '..', '', '.git', 'ü'), { minLength: 1, maxLength: 5 })
  const entry = fc.record({ path: name, linkpath: name, isLink: fc.boolean() })
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 8 }), (entries) => {
      const checking = new ArchiveCheck(limits)
      const links = new Map<string, string>()
      for (const { path, linkpath, isLink } of entries) {
        const [where, target] = [path.join('/'), linkpath.join('/')]
        try {
          const path = checking.admit(isLink ? link(where, target) : file(where))
          if (path !== null && isLink) links.set(path, target)
        } catch {
          return // the whole archive is refused
        }
      }
      for (const [where, target] of links) expect(leadsOut(where, target, links)).toBe(false)
    }),
    { numRuns: 2000 },
  )
})

// Follows links part by part as a kernel does; a loop leads nowhere, so not out.
function leadsOut(from: string, target: string, links: Map<string, string>): boolean {
  const here = from.split('/').slice(0, -1)
  const rest = target.split('/')
  for (let steps = 0; rest.length > 0 && steps < 200; steps += 1) {
    const part = rest.shift()
    if (part === '' || part === '.' || part === undefined) continue
    if (part === '..') {
      if (here.length === 0) return true
      here.pop()
      continue
    }
    here.push(part)
    const next = links.get(here.join('/'))
    if (next === undefined) continue
    here.pop()
    rest.unshift(...next.split('/'))
  }
  return false
}
