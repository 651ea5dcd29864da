import { AppError } from '../registry/errors.ts'
import { bundlePath } from '../registry/manifest.ts'

/** A page to be rendered at build time. */
export type StaticPath = {
  /** As it is listed, for messages. */
  path: string
  /** As it is asked for, percent-encoded. */
  target: string
  /** The file that a visitor's request for it is answered with, if it is no HTML; for HTML see `pageFile`. */
  file: string
}

export type PathSource = { name: string; paths: unknown[] }

export const mostPaths = 10_000

const fileExtension = /\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,10}$/i
const shownProblems = 10

/**
 * The paths that config and app list, each once, in their order. Throws CONFIG_INVALID with every path that is none, or whose file is another's
 * (ten at most are shown).
 */
export function readStaticPaths(sources: PathSource[]): StaticPath[] {
  const taken = new Map<string, StaticPath>()
  const problems: string[] = []
  for (const { name, paths } of sources) {
    if (paths.length > mostPaths)
      throw new AppError(
        'CONFIG_INVALID',
        `${name} lists ${paths.length} paths; at most ${mostPaths} can be prerendered`,
      )
    for (const [at, listed] of paths.entries()) {
      const problem = addPath(taken, listed)
      if (problem) problems.push(`${name}[${at}]: ${shown(listed)} ${problem}`)
    }
  }
  if (taken.size > mostPaths)
    throw new AppError('CONFIG_INVALID', `${taken.size} paths are listed; at most ${mostPaths} can be prerendered`)
  const [first, ...others] = problems
  if (first === undefined) return [...taken.values()]
  const more = others.length >= shownProblems ? [`and ${others.length - shownProblems + 1} more`] : []
  const details = [...others.slice(0, shownProblems - 1), ...more]
  throw new AppError('CONFIG_INVALID', [first, ...details.map((line) => `  ${line}`)].join('\n'))
}

/** The file of a page in HTML: `about.html` for `/about`, `docs/index.html` for `/docs/`, and the name itself where it has an extension. */
export function pageFile({ file }: Pick<StaticPath, 'file'>): string {
  if (file === '' || file.endsWith('/')) return `${file}index.html`
  return fileExtension.test(file) ? file : `${file}.html`
}

/** Why this is no path of a page; null: it is one. */
export function staticPathProblem(listed: string): string | null {
  const decoded = decode(listed)
  return 'problem' in decoded ? decoded.problem : nameProblem(listed, decoded.path)
}

function addPath(taken: Map<string, StaticPath>, listed: unknown): string | null {
  if (typeof listed !== 'string') return 'must be a path in quotes, such as /about'
  const decoded = decode(listed)
  if ('problem' in decoded) return decoded.problem
  const file = decoded.path.slice(1)
  const page = { path: listed, target: encodeURI(decoded.path).replace(/[?#]/g, encodeURIComponent), file }
  const name = pageFile(page)
  const problem = nameProblem(listed, decoded.path)
  if (problem) return problem
  const other = taken.get(name)
  if (other && other.path !== listed) return `would be the file ${name}, as ${shown(other.path)} is`
  taken.set(name, other ?? page)
  return null
}

function nameProblem(listed: string, path: string): string | null {
  const name = pageFile({ file: path.slice(1) })
  if (!bundlePath.safeParse(name).success) return 'cannot be the name of a file'
  if (name.split('/').some((part, at) => part.startsWith('.') && !(at === 0 && part === '.well-known')))
    return 'is the name of a hidden file, which is never served'
  if (path.endsWith('/index')) return `ends in /index; write ${listed.replace(/index$/, '')}`
  return null
}

function decode(listed: string): { path: string } | { problem: string } {
  if (listed.length > 1000) return { problem: 'is longer than 1,000 characters' }
  if (!listed.startsWith('/')) return { problem: 'must start with /' }
  if (/[?#]/.test(listed)) return { problem: 'must be without a query: one file answers whatever the query is' }
  if (/[\s\p{Cc}\\]/u.test(listed)) return { problem: 'must be one word; write a space as %20' }
  if (/%(2f|5c|00)/i.test(listed)) return { problem: 'has an encoded separator in it' }
  if (listed.includes('//')) return { problem: 'has an empty part (//)' }
  try {
    const path = decodeURIComponent(listed)
    if (path.split('/').some((part) => part === '.' || part === '..')) return { problem: 'has . or .. in it' }
    if (/[\p{Cc}\\]/u.test(path)) return { problem: 'has a control character in it' }
    encodeURI(path)
    return { path }
  } catch (thrown) {
    if (thrown instanceof URIError) return { problem: 'is not percent-encoded UTF-8; write a % as %25' }
    throw thrown
  }
}

function shown(listed: unknown): string {
  const text = JSON.stringify(listed) ?? String(listed)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
