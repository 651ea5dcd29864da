import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepLog } from '../registry/build-logs.ts'
import { AppError } from '../registry/errors.ts'
import { contentType } from './content-types.ts'
import type { Page } from './pack-pages.ts'
import { pageFile, type StaticPath } from './static-paths.ts'
import type { Answer, TrialHost } from './trial-host.ts'
import type { Workspace } from './workspace.ts'

/** `static-paths.json`: what was rendered at build time, and what was listed and is left to the app all the same. */
export type StaticPaths = {
  pages: { path: string; file: string; content_type: string; size: number; sha256: string }[]
  left_to_app: { path: string; reason: string }[]
}

export type Prerendered = { pages: Page[]; paths: StaticPaths }

export type PrerenderDeps = {
  host: TrialHost
  workspace: Workspace
  /** Files that the build has published already; they come before any page. */
  published: Page[]
  concurrent: number
  pageMs: number
  protocol: 'http' | 'https'
  /** Of all pages together. */
  mostBytes: number
  mostMs: number
  log: StepLog
  signal: AbortSignal
}

const largestPage = 16 * 1_048_576
const heldBytes = 64 * 1_048_576
const shownReasons = 10
const folder = 'static-pages'

/**
 * Asks the app for each path, a few at a time, and makes files of its answers. Throws PRERENDER_FAILED with the path that fails: a status other
 * than 200 or a redirect, no answer in time, a body over 16 MB.
 */
export async function prerender(listed: StaticPath[], deps: PrerenderDeps): Promise<Prerendered> {
  const { host, workspace, log } = deps
  await mkdir(workspace.beside(folder), { recursive: true, mode: 0o700 })
  return log.step('Prerendering', countOf(listed.length), async (step) => {
    const results = await host.use(() => renderAll(listed, deps), step.output)
    const pages = results.flatMap((result) => ('page' in result ? [result] : []))
    const left = results.flatMap((result) => ('reason' in result ? [result] : []))
    for (const { path, reason } of left.slice(0, shownReasons)) step.output(`${path} is left to the app: ${reason}`)
    if (left.length > shownReasons) step.output(`${left.length - shownReasons} more are left to the app`)
    const dropped = [...new Set(pages.flatMap(({ dropped }) => dropped))].sort()
    if (dropped.length > 0) step.output(`headers not kept: ${dropped.join(', ')}; public/_headers can set them`)
    step.detail(`${countOf(pages.length)}${left.length > 0 ? `, ${left.length} left to the app` : ''}`)
    return {
      pages: pages.map(({ page }) => page),
      paths: {
        pages: pages.map(({ path, page }) => ({
          ...{ path, file: page.path, content_type: page.contentType, size: page.size, sha256: page.sha256 },
        })),
        left_to_app: left,
      },
    }
  })
}

type Rendered = { path: string; page: Page; dropped: string[] } | { path: string; reason: string }

async function renderAll(listed: StaticPath[], deps: PrerenderDeps): Promise<Rendered[]> {
  const published = new Set(deps.published.map(({ path }) => path))
  const deadline = performance.now() + deps.mostMs
  const results: Rendered[] = []
  const failures = new Map<number, AppError>()
  const queue = listed.entries()
  let bytes = 0
  const run = async () => {
    for (const [at, path] of queue) {
      if (failures.size > 0) return
      try {
        if (performance.now() > deadline)
          throw failure(
            `rendering ${countOf(listed.length)} took more than ${deps.mostMs / 60_000} min, at ${path.path}`,
          )
        const result = isPublished(path, published)
          ? { path: path.path, reason: 'a file of that name is published already' }
          : await render(path, { ...deps, name: String(at), mayHold: bytes < heldBytes })
        if ('page' in result) bytes += result.page.size
        if (bytes > deps.mostBytes) throw failure(`the pages are larger than a build may be, at ${path.path}`)
        results[at] = result
      } catch (thrown) {
        if (!(thrown instanceof AppError)) throw thrown
        failures.set(at, thrown)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(deps.concurrent, listed.length) }, run))
  const [first, ...others] = [...failures].sort(([a], [b]) => a - b).map(([, failed]) => failed)
  if (!first) return results
  const lines = [first.message, ...others.map((failed) => `  ${failed.message.split('\n')[0]}`)]
  throw new AppError(first.code, lines.join('\n'), { cause: first })
}

async function render(
  listed: StaticPath,
  { host, workspace, protocol, pageMs, signal, name, mayHold }: PrerenderDeps & { name: string; mayHold: boolean },
): Promise<Rendered> {
  signal.throwIfAborted()
  const { path } = listed
  const answer = await ask(listed, { host, protocol, pageMs })
  const reason = whyLeft(answer)
  if (reason) return { path, reason }
  if (answer.status !== 200)
    throw failure(
      `GET ${path} answered ${answer.status}${wordsOf(answer.body)}; a page that is prerendered answers 200`,
    )
  if (answer.isCut) throw failure(`GET ${path}: its body is larger than ${largestPage / 1_048_576} MB`)
  const type = headerOf(answer, 'content-type')
  const isPage = /^(text\/html|application\/xhtml\+xml)\s*(;|$)/i.test(type ?? '')
  if (!isPage && (listed.file === '' || listed.file.endsWith('/')))
    return { path, reason: `it is ${type ?? 'of no type'}, and only a page can have a path that ends in /` }
  const file = isPage ? pageFile(listed) : listed.file
  const source = mayHold ? '' : name
  if (source) await writeFile(join(workspace.beside(folder), source), answer.body, { mode: 0o600 })
  const page: Page = {
    path: file,
    source,
    part: { root: workspace.root, from: folder, skip: () => false },
    size: answer.body.length,
    sha256: createHash('sha256').update(answer.body).digest('hex'),
    contentType: type?.slice(0, 200) ?? contentType(file),
    content: source ? null : answer.body,
  }
  return { path, page, dropped: droppedOf(answer) }
}

async function ask(
  { path, target }: StaticPath,
  { host, protocol, pageMs }: Pick<PrerenderDeps, 'host' | 'protocol' | 'pageMs'>,
): Promise<Answer> {
  try {
    return await host.ask(target, {
      ...{ timeoutMs: pageMs, mostBytes: largestPage, userAgent: 'Atelier-Prerender', protocol },
    })
  } catch (thrown) {
    // The app's own end is told by whoever asked; a thread that cannot hold it is found by its error.
    if (!(thrown instanceof AppError)) throw thrown
    if (thrown.code === 'APP_UNHEALTHY') throw failure(thrown.message.replace(/^GET \S+:/, `GET ${path}:`))
    throw new AppError(thrown.code, `GET ${path}: ${thrown.message}`, { cause: thrown })
  }
}

// What one visitor was meant to get is not for all of them.
function whyLeft(answer: Answer): string | null {
  const { status } = answer
  if (status >= 300 && status < 400)
    return `it answers ${status} to ${(headerOf(answer, 'location') ?? '').slice(0, 100)}`
  const cookie = headerOf(answer, 'set-cookie')
  if (cookie) return `it sets the cookie ${cookie.split('=', 1)[0]?.slice(0, 50)}, which is for one visitor`
  const control = headerOf(answer, 'cache-control')
  const forOne = /\b(private|no-store)\b/i.exec(control ?? '')?.[1]
  if (forOne) return `its cache-control says ${forOne.toLowerCase()}`
  const differs = (headerOf(answer, 'vary') ?? '').split(',').find((name) => !/^\s*(accept-encoding)?\s*$/i.test(name))
  if (differs) return `it differs with each visitor’s ${differs.trim().toLowerCase().slice(0, 50)} (vary)`
  return answer.headers.some(([name]) => name === 'content-encoding') ? 'it is compressed without being asked to' : null
}

function headerOf({ headers }: Answer, wanted: string): string | null {
  const values = headers.filter(([name]) => name === wanted).map(([, value]) => value)
  return values.length > 0 ? values.join(', ') : null
}

// Said anew of every file by the edge, or about this one connection.
const ownToAnswers =
  /^(content-(type|length)|date|connection|keep-alive|transfer-encoding|etag|last-modified|vary|accept-ranges|x-powered-by|server|cache-control|expires|age)$/

function droppedOf({ headers }: Answer): string[] {
  return headers.map(([name]) => name).filter((name) => !ownToAnswers.test(name))
}

function isPublished(listed: StaticPath, published: Set<string>): boolean {
  return published.has(listed.file) || published.has(pageFile(listed))
}

function wordsOf(body: Buffer): string {
  const text = body
    .toString('utf8', 0, 2000)
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  return text ? ` (${text.length > 80 ? `${text.slice(0, 80)}…` : text})` : ''
}

function countOf(pages: number): string {
  return `${pages} page${pages === 1 ? '' : 's'}`
}

function failure(message: string): AppError {
  return new AppError('PRERENDER_FAILED', message)
}
