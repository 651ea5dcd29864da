import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import {
  codedHeaders,
  codingFor,
  compressInline,
  largestInline,
  openEncoder,
  smallestCompressed,
} from './compression.ts'
import type { Coding } from './content-encoding.ts'
import { sendChecked } from './ready-response.ts'
import { type ResponseHead, readInterimHeaders } from './response-head.ts'

/** What the cache had to do with an answer, as the header `x-atelier-cache` says it (docs/response-cache.md). */
export type CacheWord = 'hit' | 'stale' | 'revalidated' | 'miss' | 'bypass'

/** A client that waits for an app's answer. `headers` are flat pairs that go with the app's own. */
export type Client = { request: IncomingMessage; response: ServerResponse; headers: string[] }

// Above this, copying a body behind its head costs more than a second write.
const largestJoined = 16_384

/**
 * Passes on what an app says before its answer: early hints above all. Not that it takes the body, which the client has asked of the edge and been
 * told; and not to a client of HTTP/1.0, for which it would be the answer (RFC 9110 §15.2).
 */
export function sendInterim({ request, response }: Omit<Client, 'headers'>, status: number, pairs: string[]): void {
  if (status === 100 || request.httpVersion !== '1.1' || response.headersSent) return
  response.writeInformation(status, readInterimHeaders(pairs))
}

/** Sends an answer that is there whole, compressed when that helps. */
export function sendWhole(client: Client, head: ResponseHead, body: Buffer, trailers: [string, string][] = []): void {
  const { request, response } = client
  const isHead = request.method === 'HEAD'
  const coding = codingFor(request, head)
  if (coding === null || trailers.length > 0 || (body.length < smallestCompressed && !isHead)) {
    const isCounted = head.hasLength || (head.mayHaveBody && !head.hasTrailer && trailers.length === 0)
    if (isCounted && !head.hasLength && !isHead) head.headers.push('content-length', String(body.length))
    if (isCounted && body.length <= largestJoined && sendJoined(client, head, isHead ? null : body)) return
    writeHead(client, head, head.headers)
    if (trailers.length > 0) response.addTrailers(trailers)
    response.end(body)
  } else if (isHead || body.length > largestInline) {
    writeHead(client, head, codedHeaders(head.headers, coding, null))
    if (isHead) response.end()
    else encode(response, coding).end(body)
  } else {
    const coded = compressInline(coding, body)
    const headers = codedHeaders(head.headers, coding, coded.length)
    if (sendChecked(response, head, [headers, client.headers], coded)) return
    writeHead(client, head, headers)
    response.end(coded)
  }
}

/** Sends the head of an answer, and says where its body goes. */
export function openAnswer(client: Client, head: ResponseHead): Writable {
  const { request, response } = client
  const coding = codingFor(request, head)
  writeHead(client, head, coding === null ? head.headers : codedHeaders(head.headers, coding, null))
  // A stream that starts with silence still shows that it has started.
  setImmediate(() => {
    // As flushHeaders, which takes the bytes of headers for letters and writes them as UTF-8.
    if (!response.writableEnded && !response.destroyed) response.write('', 'latin1')
  })
  return coding === null || request.method === 'HEAD' ? response : encode(response, coding)
}

/** Sends an answer as it comes. */
export function sendStream(
  client: Client,
  head: ResponseHead,
  body: Readable,
  trailers: () => [string, string][],
): void {
  const { response } = client
  body.on('error', () => response.destroy())
  body.on('end', () => {
    const pairs = trailers()
    if (pairs.length > 0) response.addTrailers(pairs)
  })
  body.pipe(openAnswer(client, head))
}

function sendJoined({ response, headers: more }: Client, head: ResponseHead, body: Buffer | null): boolean {
  return sendChecked(response, head, [head.headers, more], body)
}

function writeHead({ response, headers: more }: Client, { status, reason }: ResponseHead, headers: string[]): void {
  headers.push(...more)
  response.writeHead(status, reason, headers)
  // Behind another answer on its connection it waits as pieces, and Node puts a head before all of them: also before what has been said ahead of it.
  if (response.socket === null) response.write('', 'latin1')
}

// What ends one of the two ends the other; an encoder that is given up gives its memory back at once.
function encode(response: ServerResponse, coding: Coding): Writable {
  const encoder = openEncoder(coding)
  encoder.on('error', () => response.destroy())
  response.on('close', () => encoder.destroy())
  encoder.pipe(response)
  return encoder
}
