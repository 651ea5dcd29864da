import { createHash, createHmac } from 'node:crypto'
import { type Deployment, findDeployment } from '../deployments.ts'
import { AppError } from '../errors.ts'
import { beginRepeatable, forgetRepeatable, type Remembered, type Repeatable, rememberAnswer } from '../repeats.ts'
import type { Caller } from '../rights.ts'
import { deriveKey } from '../secrets.ts'
import type { Call } from './call.ts'
import { followDeployment, readProgressPlace } from './progress.ts'

/** `about` throws when the caller may no longer do that to the deployment an answer was about. */
type Asked = {
  call: Call
  about: (deployment: Deployment) => void
  route: string
  input: { given: unknown; isStreamed: boolean }
}

/**
 * Does a change once, however often it comes with the same Idempotency-Key within a day: what was answered the first time is answered again. Refusals and
 * failures are not kept, for they changed nothing. `act` gets the request to read from. Throws REPEAT_OTHER when the key stood for another
 * request, REPEAT_BUSY while the first is still under way.
 */
export async function onceOnly(asked: Asked, act: (request: Request) => Promise<Response>): Promise<Response> {
  const { call, input } = asked
  const key = readKey(call.request)
  if (key === null) return act(call.request)
  // Keyed: a request may hold a password, of which a bare digest would let others guess.
  const requestSha256 = createHmac('sha256', deriveKey(call.key, 'repeats'))
    .update(JSON.stringify([asked.route, input.given]))
    .digest()
  const repeatable = { caller: callerName(call.caller), key, requestSha256 }
  const standing = await beginRepeatable(call.sql, repeatable, call.key)
  if (standing.is === 'other') throw usedForAnother(key)
  if (standing.is === 'under way')
    throw new AppError('REPEAT_BUSY', `a request with the Idempotency-Key ${key} is under way; ask again in a moment`)
  if (standing.is === 'done') {
    await refuseOtherBody(call, key, standing.remembered)
    return replay(asked, standing.remembered)
  }
  const sent = input.isStreamed ? new SentBody(call.request) : null
  try {
    const response = await act(sent?.request ?? call.request)
    return await remember(call, repeatable, { response, bodySha256: sent?.digest() ?? null })
  } catch (thrown) {
    await forgetRepeatable(call.sql, repeatable)
    throw thrown
  }
}

function usedForAnother(key: string): AppError {
  return new AppError('REPEAT_OTHER', `the Idempotency-Key ${key} was used for another request; take a new one`)
}

async function refuseOtherBody({ request, config }: Call, key: string, { bodySha256 }: Remembered): Promise<void> {
  if (bodySha256 === null) return
  const sent = new SentBody(request)
  const mostBytes = config.pushLimits.packMb * 1_048_576
  let size = 0
  for await (const chunk of sent.request.body ?? []) {
    size += chunk.length
    if (size > mostBytes) throw new AppError('REQUEST_TOO_LARGE', `the upload is larger than ${mostBytes} bytes`)
  }
  if (!sent.digest().equals(bodySha256)) throw usedForAnother(key)
}

/** A request whose body is digested while it is read. */
class SentBody {
  readonly request: Request
  readonly #hash = createHash('sha256')

  constructor({ url, method, headers, body }: Request) {
    const digesting = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        this.#hash.update(chunk)
        controller.enqueue(chunk)
      },
    })
    this.request = new Request(url, { method, headers, body: body?.pipeThrough(digesting) ?? null, duplex: 'half' })
  }

  /** Of what was read of it. */
  digest(): Buffer {
    return this.#hash.copy().digest()
  }
}

// Printable and no longer than a row wants it, so that it can be shown.
function readKey(request: Request): string | null {
  const key = request.headers.get('idempotency-key')
  if (key === null) return null
  if (/^[\x21-\x7e]{1,200}$/.test(key)) return key
  throw new AppError(
    'REQUEST_INVALID',
    'the header Idempotency-Key holds 1 to 200 printable characters, without spaces',
  )
}

function callerName({ tokenId, person }: Caller): string {
  return tokenId ?? `person:${person?.id ?? ''}`
}

async function remember(
  { sql, key }: Call,
  asked: Repeatable,
  { response, bodySha256 }: { response: Response; bodySha256: Buffer | null },
): Promise<Response> {
  const contentType = response.headers.get('content-type')
  const isJson = (contentType ?? '').startsWith('application/json')
  const answer = isJson ? await response.clone().text() : null
  const place = readProgressPlace(response)
  const { status } = response
  await rememberAnswer(
    sql,
    asked,
    { bodySha256, status, contentType, answer, deploymentId: place?.id ?? null, until: place?.until ?? null },
    key,
  )
  return response
}

async function replay(
  asked: Asked,
  { status, contentType, answer, deploymentId, until }: Remembered,
): Promise<Response> {
  const response =
    deploymentId === null ? kept({ status, contentType, answer }) : await retell(asked, deploymentId, until)
  response.headers.set('idempotency-replayed', 'true')
  return response
}

function kept({ status, contentType, answer }: Pick<Remembered, 'status' | 'contentType' | 'answer'>): Response {
  if (contentType !== null && answer === null)
    throw new AppError('REPEAT_OTHER', 'that was done, and what was said of it is not kept')
  return new Response(answer, {
    status,
    headers: { ...(contentType && { 'content-type': contentType }), 'cache-control': 'no-store' },
  })
}

async function retell({ call, about }: Asked, id: string, until: string | null): Promise<Response> {
  const deployment = await findDeployment(call.sql, id)
  if (deployment) about(deployment)
  if (deployment) return followDeployment(call, deployment, { until: until === 'verdict' ? 'verdict' : 'traffic' })
  throw new AppError('DEPLOYMENT_NOT_FOUND', `the deployment ${id} was deleted since`)
}
