import type { StepLog } from '../registry/build-logs.ts'
import { AppError } from '../registry/errors.ts'
import type { Manifest } from '../registry/manifest.ts'
import { PathPattern } from '../registry/path-pattern.ts'
import type { HeaderRule, RedirectRule } from '../registry/site-rules.ts'
import { readHeadersFile } from './headers-file.ts'
import { type Page, readPage } from './pack-pages.ts'
import { type ReadRedirect, readRedirectsFile } from './redirects-file.ts'
import type { LeftOut } from './rule-lines.ts'

export type SiteRules = { headers: HeaderRule[]; redirects: RedirectRule[] }

const largestBytes = 1_048_576
const mostShown = 20

/**
 * Takes `_headers` and `_redirects` out of the static files, and reads them. What they say that cannot be kept is in the log, with the line's
 * number. Throws OUTPUT_INVALID.
 */
export async function takeSiteRules(
  pages: Page[],
  { kind, log }: { kind: Manifest['kind']; log: StepLog },
): Promise<{ pages: Page[]; rules: SiteRules }> {
  const headersFile = pages.find(({ path }) => path === '_headers')
  const redirectsFile = pages.find(({ path }) => path === '_redirects')
  if (!headersFile && !redirectsFile) return { pages, rules: { headers: [], redirects: [] } }

  const served = pages.filter((page) => page !== headersFile && page !== redirectsFile)
  const headers = headersFile ? readHeadersFile(await readRules(headersFile)) : { rules: [], leftOut: [] }
  const redirects = redirectsFile ? readRedirectsFile(await readRules(redirectsFile)) : { rules: [], leftOut: [] }
  const { kept, leftOut } = check(redirects.rules, { served, kind })
  await log.step('Rules', describe(headers.rules.length, kept.length), async (step) => {
    tell('_headers', headers.leftOut, step.output)
    tell(
      '_redirects',
      [...redirects.leftOut, ...leftOut].sort((a, b) => a.line - b.line),
      step.output,
    )
  })
  return { pages: served, rules: { headers: headers.rules, redirects: kept } }
}

async function readRules(page: Page): Promise<Buffer> {
  if (page.size > largestBytes)
    throw new AppError(
      'OUTPUT_INVALID',
      `${page.path} is larger than ${largestBytes / 1024} kB; put rules together with * and :name`,
    )
  return readPage(page)
}

// What can only be known beside the files.
function check(
  rules: ReadRedirect[],
  { served, kind }: { served: Page[]; kind: Manifest['kind'] },
): { kept: RedirectRule[]; leftOut: LeftOut[] } {
  const paths = new Set(
    served.flatMap(({ path }) => [`/${path}`, `/${path.replace(/(^|\/)index\.html$|\.html$/, '')}`]),
  )
  const leftOut: LeftOut[] = []
  const kept = rules.filter(({ from, to, status, line }) => {
    const why = problemOf({ from, to, status }, { paths, kind })
    if (why) leftOut.push({ line, why })
    return !why
  })
  return { kept: kept.map(({ line: _, ...rule }) => rule), leftOut }
}

function problemOf(
  { from, to, status }: Pick<RedirectRule, 'from' | 'to' | 'status'>,
  { paths, kind }: { paths: Set<string>; kind: Manifest['kind'] },
): string | null {
  if (status !== 200 && status !== 404) return null
  // Made for hosts without a server, and left in many a template.
  if (kind !== 'static' && from === '/*') return 'nothing would reach the app: it answers what is no file'
  if (kind !== 'static' || to.includes(':')) return null
  const target = new PathPattern(to.replace(/[?#].*$/, '')).plain
  return paths.has(target) ? null : `there is no file ${to}`
}

function describe(headers: number, redirects: number): string {
  const count = (number: number, word: string) => `${number} ${word}${number === 1 ? '' : 's'}`
  return `${count(headers, 'rule')} for headers, ${count(redirects, 'redirect')}`
}

function tell(file: string, leftOut: LeftOut[], output: (text: string) => void): void {
  for (const { line, why } of leftOut.slice(0, mostShown)) output(`${file} line ${line} is left out: ${why}`)
  if (leftOut.length > mostShown) output(`${file}: ${leftOut.length - mostShown} more lines are left out`)
}
