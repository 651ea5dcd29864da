import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Atelier } from '../test/support/atelier.ts'
import { checkout } from '../test/support/platform.ts'
import type { Files } from '../test/support/repo.ts'

/** An app with a build of its own, as its scaffold makes it, with a lockfile. */
export type BuiltApp = {
  name: string
  files: Files
  /** The one file that makes the page say `text`. */
  saying(text: string): Files
}

export async function viteApp(): Promise<BuiltApp> {
  const files = await filesBelow(join(checkout, 'examples/vite-react'))
  const page = String(files['index.html'])
  return {
    name: 'Vite + React',
    files,
    saying: (text) => ({ 'index.html': page.replace(/<title>.*?<\/title>/, `<title>${text}</title>`) }),
  }
}

/** What `create-next-app --empty` makes on the day of the run. */
export async function nextApp(atelier: Atelier): Promise<BuiltApp> {
  const desk = await atelier.directory()
  const options = ['--ts', '--app', '--empty', '--no-src-dir', '--no-tailwind', '--no-linter', '--skip-install']
  const generator = ['create-next-app@latest', 'app', '--yes', ...options, '--disable-git', '--use-npm']
  await atelier.run('npx', ['--yes', ...generator], { cwd: desk })
  const folder = join(desk, 'app')
  await atelier.run('npm', ['install', '--package-lock-only', '--no-audit'], { cwd: folder })
  return {
    name: 'Next.js',
    files: await filesBelow(folder),
    saying: (text) => ({ 'app/page.tsx': `export default function Page() {\n  return <p>${text}</p>\n}\n` }),
  }
}

/** A site of a thousand pages, 16 MB, as a generator would have left it. */
export function thousandPages(): BuiltApp {
  const page = (index: number, text: string) =>
    `<!doctype html><title>page ${index}</title><link rel="stylesheet" href="/style.css"><h1>${text}</h1>\n${wordsOf(index)}`
  const files = Object.fromEntries(
    Array.from({ length: 998 }, (_, index) => [`posts/${index % 40}/${index}.html`, page(index, `post ${index}`)]),
  )
  return {
    name: 'static site of 1,000 files',
    files: { ...files, 'style.css': 'body { margin: 2rem }' },
    saying: (text) => ({ 'index.html': page(999, text) }),
  }
}

// Text that compresses as prose does, and is another on every page.
function wordsOf(page: number): string {
  let seed = page + 1
  const words = Array.from({ length: 2400 }, () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return vocabulary[seed % vocabulary.length]
  })
  return `<p>${words.join(' ')}</p>`
}

const vocabulary = Array.from({ length: 900 }, (_, index) => (index * 7919 + 131).toString(36).padStart(3, 'e'))

async function filesBelow(folder: string): Promise<Files> {
  await mkdir(folder, { recursive: true })
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const kept = paths.filter((path) => !/\/(node_modules|\.next|dist)\//.test(path.slice(folder.length)))
  return Object.fromEntries(
    await Promise.all(kept.map(async (path) => [path.slice(folder.length + 1), await readFile(path)] as const)),
  )
}
