import { AppError } from '../errors.ts'

export type S3Address = {
  bucket: string
  /** Before every key; empty, or ending in `/`. */
  prefix: string
  /** Null: Amazon's own for the region. */
  endpoint: string | null
  region: string
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`. */
  forcePathStyle: boolean
}

const example = 's3://bucket?endpoint=https://s3.example.com&region=us-east-1'
const known = ['endpoint', 'region', 'prefix', 'forcePathStyle']

/**
 * Reads `s3://bucket?endpoint=…&region=…&prefix=…&forcePathStyle=true`. Throws CONFIG_ENV naming what is wrong, and never what may be
 * a secret.
 */
export function parseS3Url(storeUrl: string): S3Address {
  const url = URL.canParse(storeUrl) ? new URL(storeUrl) : null
  if (url?.protocol !== 's3:') throw invalid(`must be an address like ${example}`)
  if (url.username || url.password) throw invalid('must not hold credentials; set ATELIER_S3_ACCESS_KEY_ID instead')
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname))
    throw invalid(`must name a bucket of 3 to 63 letters, digits, dots and dashes, as in ${example}`)
  if (url.pathname !== '' && url.pathname !== '/') throw invalid('holds a path; write ?prefix=… for it')
  const unknown = [...url.searchParams.keys()].find((name) => !known.includes(name))
  if (unknown !== undefined) throw invalid(`has ${JSON.stringify(unknown)}, which is none of ${known.join(', ')}`)

  const given = (name: string) => url.searchParams.get(name) || null
  const endpoint = given('endpoint')
  const forcePathStyle = given('forcePathStyle')
  if (endpoint !== null && !isPlainHttpUrl(endpoint))
    throw invalid('has an endpoint that is no http:// or https:// address of a server')
  if (forcePathStyle !== null && !['true', 'false'].includes(forcePathStyle))
    throw invalid('has a forcePathStyle that is neither true nor false')
  return {
    bucket: url.hostname,
    prefix: parsePrefix(given('prefix') ?? ''),
    endpoint,
    region: given('region') ?? 'us-east-1',
    // Servers of one's own rarely have a name for every bucket.
    forcePathStyle: forcePathStyle === null ? endpoint !== null : forcePathStyle === 'true',
  }
}

function parsePrefix(text: string): string {
  const bare = text.replace(/^\/+|\/+$/g, '')
  if (bare === '') return ''
  if (!/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(bare) || bare.split('/').some((part) => /^\.+$/.test(part)))
    throw invalid('has a prefix with other signs than letters, digits and . _ - /')
  return `${bare}/`
}

function isPlainHttpUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : null
  return url !== null && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search
}

function invalid(what: string): AppError {
  return new AppError('CONFIG_ENV', `ATELIER_STORE_URL ${what}`)
}
