import { AppFetch } from '../app/app-fetch.ts'
import { BodyCopy } from '../app/body-copy.ts'
import { headerIn, type ResponseHead, readResponseHead } from '../app/response-head.ts'
import type { UpstreamResponse } from '../app/upstream.ts'
import { Fill, longestFillMs, type Outcome } from './cache-fill.ts'
import type { CachePlace } from './cache-place.ts'
import { readTerms } from './cache-policy.ts'
import { impersonalHeaders } from './cache-request.ts'
import type { CachedAnswer } from './cached-answer.ts'

/**
 * Asks the app for an answer for everybody, with nothing of the client that happened to come by, and keeps it. Of an address whose answers
 * may be kept only; others who want it join. The fetch goes on whoever leaves.
 */
export function fetchImpersonal(place: CachePlace): Fill {
  const { shelf, fillKey } = place
  const fill = new Fill()
  shelf.fills.set(fillKey, fill)
  void fetchOutcome(place).then((outcome) => {
    if (shelf.fills.get(fillKey) === fill) shelf.fills.delete(fillKey)
    fill.end(outcome)
  })
  return fill
}

async function fetchOutcome(place: CachePlace): Promise<Outcome> {
  const { call, host, deps, slot, answer } = place
  const headers = impersonalHeaders(call, slot?.vary ?? [], answer)
  const fetch = new AppFetch(host, { target: call.target, headers, waitMs: deps.limits.waitForHostMs })
  const timer = setTimeout(() => fetch.abort(), longestFillMs)
  try {
    const upstream = await fetch.response()
    const head = readResponseHead(upstream, { cookieSuffix: deps.cookieSuffix })
    const outcome = 'invalid' in head ? ({ how: 'failed' } as const) : await keep(place, { head, upstream, answer })
    if (outcome.how === 'passed' || outcome.how === 'failed') fetch.abort()
    return outcome
  } catch (thrown) {
    deps.log.debug({ app: call.ref.appId, deployment: call.ref.id, err: thrown }, 'nothing fetched for the cache')
    return { how: 'failed' }
  } finally {
    clearTimeout(timer)
  }
}

type Answered = { head: ResponseHead; upstream: UpstreamResponse; answer: CachedAnswer | null }

async function keep(place: CachePlace, { head, upstream, answer }: Answered): Promise<Outcome> {
  if (head.status >= 500) return { how: 'failed' }
  if (head.status === 304 && answer) return keepOn(place, answer, head, upstream)
  const terms = readTerms(head.status, upstream.pairs)
  if (terms === null || !place.isKeepable(head, upstream)) return pass(place)
  const body = await gather(place, upstream)
  return body === null ? pass(place) : place.keep(head, terms, body)
}

// RFC 9111 §4.3.4: the headers of the 304 take the place of those kept, but for what is said of the body. What comes of both is judged as if it
// had come whole: a cookie may come with a 304, too.
function keepOn(place: CachePlace, answer: CachedAnswer, head: ResponseHead, { pairs }: UpstreamResponse): Outcome {
  const newer = pairsOf(head.headers).filter(([name]) => !/^content-(?!location|security)/i.test(name))
  const replaced = new Set(['age', ...newer.map(([name]) => name.toLowerCase())])
  const older = pairsOf(answer.head.headers).filter(([name]) => !replaced.has(name.toLowerCase()))
  const headers = [...older, ...newer].flat()
  const tags = headerIn(pairs, 'cache-tag')
  const terms = readTerms(answer.head.status, tags === undefined ? headers : [...headers, 'cache-tag', tags])
  if (terms === null || headerIn(pairs, 'set-cookie') !== undefined) return pass(place)
  return place.renew(answer, tags === undefined ? { ...terms, tags: answer.terms.tags } : terms, headers)
}

function pass({ shelf, key }: CachePlace): Outcome {
  shelf.remove(key)
  shelf.pass(key, performance.now())
  return { how: 'passed' }
}

async function gather({ cache }: CachePlace, { body }: UpstreamResponse): Promise<Buffer | null> {
  const copy = new BodyCopy(cache)
  if (Buffer.isBuffer(body)) return copy.add(body) ? copy.take() : null
  try {
    for await (const chunk of body) if (!copy.add(chunk as Buffer)) return null
    return copy.take()
  } finally {
    copy.drop()
  }
}

function pairsOf(headers: string[]): [string, string][] {
  return headers.flatMap((name, index): [string, string][] =>
    index % 2 === 0 ? [[name, headers[index + 1] ?? '']] : [],
  )
}
