import type { Page } from '../pack-pages.ts'

export type HtmlPage = { path: string; source: string; title: string | null }

const mostTitles = 2000
const headBytes = 4096

/** The pages among static files, by the addresses that the edge gives them. Those for what there is not are none. */
export function htmlPages(pages: Page[]): HtmlPage[] {
  return pages
    .filter(({ path }) => path.endsWith('.html') && !/^(404|200|500)(\/index)?\.html$/.test(path))
    .map((page, index) => ({
      path: pathOfHtml(page.path),
      source: page.path,
      title: index < mostTitles ? titleOf(page) : null,
    }))
}

/** `about/index.html` and `about.html` are `/about`. */
export function pathOfHtml(path: string): string {
  return `/${path.replace(/(^|\/)index\.html$/, '').replace(/\.html$/, '')}`
}

function titleOf({ content }: Page): string | null {
  const head = content?.toString('utf8', 0, headBytes) ?? ''
  return /<title[^>]{0,200}>([^<]{1,200})<\/title>/i.exec(head)?.[1]?.replace(/\s+/g, ' ').trim() || null
}
