import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { AppCall, AppRequestDeps } from '../app/app-request.ts'
import type { HostView } from '../app/host-view.ts'
import { AnswerLook } from './answer-look.ts'
import { Fill, longestFillMs } from './cache-fill.ts'
import { CachePlace } from './cache-place.ts'
import { ResponseCache } from './response-cache.ts'

const limits = { cacheBytes: 4_000, cacheEntryBytes: 1_000 }
const pairs = ['content-type', 'text/plain', 'cache-control', 's-maxage=60']
const head = {
  status: 200,
  reason: 'OK',
  headers: pairs,
  type: 'text/plain',
  mayHaveBody: true,
  hasLength: false,
  hasTrailer: false,
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('I4: an answer that trickles without end is not gathered for ever for a client that has left', async () => {
  const { cache, response, fill, body, look, abort } = taken()
  // Somebody waits for it when the client leaves, and does so no more after a while.
  fill.waiting = 1
  body.write('x'.repeat(900))
  await vi.advanceTimersByTimeAsync(0)
  expect(cache.reserve(limits.cacheEntryBytes)).toBe(false)
  response.destroy()
  expect(look.isShared()).toBe(true)
  fill.waiting = 0
  vi.advanceTimersByTime(longestFillMs)
  expect(abort).toHaveBeenCalledOnce()
  expect(cache.reserve(limits.cacheEntryBytes)).toBe(true)
})

test.each([1_100, 900])('one of %d bytes and more that lasts longer reaches its client once', async (bytes) => {
  const { response, body, abort } = taken()
  const written = vi.spyOn(response, 'write')
  body.write('x'.repeat(bytes))
  await vi.advanceTimersByTimeAsync(longestFillMs + 1_000)
  body.write('the rest')
  await vi.advanceTimersByTimeAsync(longestFillMs)
  // What is empty sends the head.
  const texts = written.mock.calls.map(([chunk]) => String(chunk)).filter((text) => text !== '')
  expect(texts).toEqual(['x'.repeat(bytes), 'the rest'])
  expect(abort).not.toHaveBeenCalled()
})

// A streamed answer whose client waits for it, and maybe others.
function taken() {
  const cache = new ResponseCache(limits)
  const shelf = cache.shelf({ id: 'd1', appId: 'app' })
  const request = Object.assign(new IncomingMessage(new Socket()), { method: 'GET', url: '/' })
  const response = new ServerResponse(request)
  const call = { request, response, target: '/', headers: [], visitor: null } as unknown as AppCall
  const host = { upstream: () => ({ speaks: 'channel' }) } as unknown as HostView
  const fill = new Fill()
  const look = new AnswerLook(new CachePlace(cache, shelf, 'key', call, host, {} as AppRequestDeps), fill)
  const body = new PassThrough()
  const abort = vi.fn(() => void body.destroy())
  look.take({ ...head, headers: [...pairs] }, { status: 200, reason: 'OK', pairs, body, trailers: () => [] }, abort)
  return { cache, response, fill, body, look, abort }
}
