import type { Manifest } from '../registry/manifest.ts'
import type { Page } from './pack-pages.ts'

/** What a bundle answers, for people: its pages, the top of its other static files, and whether a program takes the rest. */
export function describeRoutes(pages: Page[], kind: Manifest['kind']): Manifest['routes'] {
  const paths = pages.map(({ path }) => path)
  const html = paths.filter((path) => path.endsWith('.html'))
  const others = new Set(paths.filter((path) => !path.endsWith('.html')).map(topOf))
  return {
    pages: html.map(
      (path) =>
        `/${path
          .replace(/(^|\/)index\.html$/, '$1')
          .replace(/\.html$/, '')
          .replace(/\/$/, '')}`,
    ),
    api: kind === 'static' ? [] : ['/*'],
    static: [...others],
  }
}

function topOf(path: string): string {
  const [top = ''] = path.split('/')
  return path.includes('/') ? `/${top}/*` : `/${top}`
}
