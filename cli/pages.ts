/** Asks for every page of a list, one after the other. */
export async function everyPage<Page extends { next: string | null }>(
  ask: (page: { limit: number; cursor: string | undefined }) => Promise<Page>,
): Promise<[Page, ...Page[]]> {
  const first = await ask({ limit: 500, cursor: undefined })
  const pages: [Page, ...Page[]] = [first]
  for (let { next } = first; next !== null; ) {
    const page = await ask({ limit: 500, cursor: next })
    pages.push(page)
    next = page.next
  }
  return pages
}
