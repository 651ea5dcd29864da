import { z } from 'zod'
import { PathPattern } from './path-pattern.ts'

// What a site's _headers and _redirects come to, as the manifest carries it.

export const mostHeaderRules = 500
export const mostRedirects = 10_000
/** Of redirects with a placeholder or `*`: each costs every missing path a comparison. */
export const mostPatterns = 500

const path = z.string().max(2000).refine(isPattern, { message: 'must be a path, with placeholders and one * at most' })

const headerName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/)
const headerValue = z
  .string()
  .max(2000)
  .regex(/^[\t\x20-\x7e]*$/)

/** For every response with a file whose path fits: headers to add, and names to take away that earlier rules have added. */
export const headerRule = z.object({
  path,
  set: z.array(z.tuple([headerName, headerValue])).max(100),
  unset: z.array(headerName).max(100),
})

/**
 * `to` is a path of the same site, or a URL, with `:name` where a capture goes. 200 and 404 answer with the file at `to`; the others send the
 * client there. `force`: also where there is a file.
 */
export const redirectRule = z.object({
  from: path,
  to: z
    .string()
    .min(1)
    .max(2000)
    .regex(/^(\/(?!\/)|https?:\/\/)[\x21-\x7e]*$/),
  status: z.literal([200, 301, 302, 303, 307, 308, 404]),
  force: z.boolean(),
})

export type HeaderRule = z.infer<typeof headerRule>
export type RedirectRule = z.infer<typeof redirectRule>

/** `:name` in a target, as far as it is one: `https://example.com:8080/` has none. */
export const targetPlaceholder = /:([A-Za-z][A-Za-z0-9_]{0,63})/g

function isPattern(text: string): boolean {
  try {
    return new PathPattern(text) !== null
  } catch {
    return false
  }
}
